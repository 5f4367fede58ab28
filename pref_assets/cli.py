"""The command line: run a pipeline, ask where a row went, list the rows behind a checkpoint, export a subset."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pref_assets import __version__
from pref_assets.home import Home

if TYPE_CHECKING:
    from pref_assets.lineage.model import Trace

EXAMPLES = """
\b
Start here:
  pref-assets run demo                 everything, from raw rows to the leaderboard
  pref-assets ui                       the same in the Dagster UI, on http://127.0.0.1:3000
\b
Then ask:
  pref-assets trace "Here is a list"   where an answer came from and what learned from it
  pref-assets rows dpo_deita           the exact rows behind a checkpoint
  pref-assets export demo/deita --format trl --out deita.jsonl
  pref-assets card demo --out card     what the data are, as Markdown, Croissant and a bias sheet
\b
When someone takes data back:
  pref-assets withdraw annotator:worker_7 --pipeline demo --reason "asked to be removed"
  pref-assets impact --pipeline demo   which subsets, checkpoints and evaluations it taints
\b
State (tables, checkpoints, runs) is kept in PREF_ASSETS_HOME, by default ./.pref_assets.
"""


class Commands(click.Group):
    """Turns errors that have an explanation into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (LookupError, ValueError, OSError, RuntimeError) as error:
            if isinstance(error, click.exceptions.Exit | BrokenPipeError) or "PREF_ASSETS_DEBUG" in os.environ:
                raise
            raise click.ClickException(str(error) or type(error).__name__) from error


@click.group(cls=Commands, epilog=EXAMPLES, context_settings={"max_content_width": 110})
@click.version_option(__version__, prog_name="pref-assets")
def main() -> None:
    """Preference data as assets: from raw pairs to evaluated checkpoints, with every row accounted for."""


@main.command()
@click.argument("pipeline")
@click.option(
    "--select",
    metavar="SELECTION",
    help='Only these assets, in Dagster\'s syntax: "group:demo_6_subsets", "key:demo/checkpoints/dpo_random+".',
)
def run(pipeline: str, select: str | None) -> None:
    """Brings PIPELINE up to date: new files are ingested, and what is missing or out of date is materialized."""
    from pref_assets.pipeline.terminal import run_in_terminal

    sys.exit(run_in_terminal(_prepared_home(), pipeline, select))


@main.command()
@click.argument("pipeline")
def status(pipeline: str) -> None:
    """What of PIPELINE is fresh, out of date (and why) or missing."""
    from pref_assets.pipeline.terminal import print_status

    print_status(_prepared_home(), pipeline)


@main.command()
@click.argument("query")
@click.option("--pipeline", help="Where to look; all pipelines with data by default.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def trace(query: str, pipeline: str | None, as_json: bool) -> None:
    """Where QUERY came from, every decision on it, and every checkpoint it trained.

    QUERY is a pair id, the beginning of an answer's text, or file:row. The beginning of an id will do.
    """
    from dataclasses import asdict

    from pref_assets.lineage.render import render

    for found in _traces(query, pipeline):
        click.echo(json.dumps(asdict(found), indent=1, default=str) if as_json else render(found))


@main.command()
@click.argument("checkpoint")
@click.option("--pipeline", help="Where to look; all pipelines by default.")
def rows(checkpoint: str, pipeline: str | None) -> None:
    """The exact training rows behind CHECKPOINT (name, name@version or pipeline/name), as JSON lines."""
    from pref_assets.lineage.rows import rows as rows_behind

    for row in rows_behind(Home.default(), checkpoint, pipeline):
        click.echo(json.dumps(row, ensure_ascii=False))


@main.command()
@click.argument("subset", metavar="PIPELINE/SUBSET")
@click.option(
    "--format",
    "style",
    default="trl",
    show_default=True,
    help="Format to write: a `type` of docs/formats.md, such as trl, trl_unpaired, openrlhf or llama_factory_alpaca.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the format, such as prompt_format=implicit; may be given several times.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write, .jsonl or .parquet; SUBSET.jsonl by default.",
)
@click.option("--margin", is_flag=True, help="Adds the selector's margin, or else the strength of the preference.")
@click.option(
    "--checkpoint",
    metavar="NAME",
    help="Adds the id of each pair and how it counted in the training of NAME (or NAME@VERSION): label, weight, stage, "
    "margin, and numbers of its loss, such as delta and beta.",
)
def export(
    subset: str, style: str, settings: tuple[str, ...], out: Path | None, margin: bool, checkpoint: str | None
) -> None:
    """The selected pairs of a subset, for other trainers."""
    import yaml

    from pref_assets.lineage.export import export_subset

    pipeline, _, name = subset.partition("/")
    if not name:
        raise click.UsageError(f"say PIPELINE/SUBSET, for example demo/{pipeline}")
    path = out or Path(f"{name}.jsonl")
    if wrong := [setting for setting in settings if "=" not in setting]:
        raise click.UsageError(f"--set takes NAME=VALUE, not {wrong[0]!r}")
    given = [setting.split("=", 1) for setting in settings]
    values = {key: yaml.safe_load(value) for key, value in given}
    count = export_subset(Home.default(), pipeline, name, path, style, values, margin, checkpoint)
    click.echo(f"{count} rows written to {path}")


@main.command()
@click.argument("selectors", nargs=-1, required=True, metavar="SELECTOR...")
@click.option("--pipeline", required=True, help="Where from.")
@click.option("--reason", required=True, help="Why; kept with the tombstone.")
def withdraw(selectors: tuple[str, ...], pipeline: str, reason: str) -> None:
    """Takes data back for good: whatever is computed after this is without it.

    SELECTOR is source:NAME, file:URI, row:URI:NUMBER, annotator:NAME, prompt:ID, completion:ID or pair:ID. The end of a
    file's name and the beginning of an id will do.
    """
    from pref_assets.pipeline.terminal import withdraw_in_terminal

    withdraw_in_terminal(_prepared_home(), pipeline, selectors, reason)


@main.command()
@click.argument("selectors", nargs=-1, metavar="[SELECTOR...]")
@click.option("--pipeline", required=True, help="Where to look.")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def impact(selectors: tuple[str, ...], pipeline: str, as_json: bool) -> None:
    """Subsets, checkpoints and evaluations that withdrawals taint, before them and now.

    All withdrawals of the pipeline, or SELECTOR as for `withdraw`, withdrawn or not yet.
    """
    from dataclasses import asdict

    from pref_assets.lineage.render_impact import render_impact
    from pref_assets.pipeline.terminal import impact_in_terminal

    found = impact_in_terminal(_prepared_home(), pipeline, selectors)
    click.echo(json.dumps(asdict(found), indent=1) if as_json else render_impact(found))


@main.command()
@click.argument("pipeline")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write to; made when it is not there.",
)
def card(pipeline: str, out: Path) -> None:
    """The data card of PIPELINE: README.md for people, croissant.json for machines, bias.md with its pictures.

    All of it as the tables are now, with the subsets, checkpoints and evaluations that use the data.
    """
    from pref_assets.lineage.about import read_about
    from pref_assets.lineage.folder import write_card
    from pref_assets.pipeline.batches import files_read

    home = Home.default()
    about = read_about(home, pipeline)
    for path in write_card(home, about, files_read(home, pipeline, about.sources), out):
        click.echo(path)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, help="Port to listen on.")
def ui(host: str, port: int) -> None:
    """The Dagster UI, with the daemon that runs sensors."""
    import dagster as dg

    from pref_assets.resources.deployment import recover

    _prepared_home()
    with dg.DagsterInstance.get() as instance:
        recover(instance)
    code = ["-w", "workspace.yaml"] if Path("workspace.yaml").exists() else ["-m", "pref_assets.definitions"]
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", *code, "-h", host, "-p", str(port)])


def _prepared_home() -> Home:
    """The home with its Dagster and MLflow rooms, and the environment that points there."""
    from pref_assets.resources.deployment import prepare_home

    home = Home.default()
    os.environ.setdefault("DAGSTER_HOME", str(home.dagster))
    prepare_home(home)
    return home


def _traces(query: str, pipeline: str | None) -> "list[Trace]":
    from pref_assets.lineage.model import UnknownQueryError
    from pref_assets.lineage.trace import trace as trace_row

    home = Home.default()
    if pipeline:
        return [trace_row(home, pipeline, query)]
    pipelines = sorted(folder.name for folder in home.tables.glob("*") if folder.is_dir())
    found, misses = [], []
    for name in pipelines:
        try:
            found.append(trace_row(home, name, query))
        except UnknownQueryError as error:
            misses.append(str(error))
    if not found:
        raise UnknownQueryError(
            "\n".join(misses) or f"nothing has been run in {home.root}; start with `pref-assets run demo`"
        )
    return found


if __name__ == "__main__":
    main()
