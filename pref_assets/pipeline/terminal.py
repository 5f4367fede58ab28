"""What a person at a terminal sees of a run: a line an asset, the leaderboard, one row's path, what to do next."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import Any

import click
import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager

from pref_assets.evaluation.leaderboard import markdown
from pref_assets.home import Home
from pref_assets.lineage.impact import Impact
from pref_assets.lineage.model import UnknownQueryError
from pref_assets.lineage.render import render
from pref_assets.lineage.render_impact import render_hits, render_impact
from pref_assets.lineage.rows import manifests, rows
from pref_assets.lineage.trace import trace
from pref_assets.pipeline.freshness import statuses
from pref_assets.pipeline.naming import asset_key
from pref_assets.pipeline.run import Progress, RunReport, project_definitions, run_pipeline, selected
from pref_assets.pipeline.withdraw import impact_of, withdraw
from pref_assets.resources.deployment import recover
from pref_assets.tables import TableStore

MARKS = {"fresh": ("✓", "green"), "stale": ("~", "yellow"), "missing": ("·", None), "blocked": ("✗", "red")}


def run_in_terminal(home: Home, pipeline: str, select: str | None) -> int:
    """Runs a pipeline, tells of it, and returns the exit code: 1 when an asset or a blocking check failed."""
    click.echo(f"{pipeline}: state in {home.root}")
    with _instance() as instance:
        for run_id in recover(instance):
            click.echo(f"run {run_id[:8]} was killed; its unfinished work continues here")
        report = run_pipeline(instance, pipeline, select, home=home, listener=_tell)
    if report.ok and select is None:
        _show_results(home, pipeline)
    _close(report)
    return 0 if report.ok else 1


def _instance() -> dg.DagsterInstance:
    """The instance of ``DAGSTER_HOME``, leaving stdout and stderr alone.

    Otherwise Dagster points both at log files while steps run, and a `tail` of them feeds the terminal: lines come late
    or never, and progress bars see no terminal.
    """
    capture = {"module": NoOpComputeLogManager.__module__, "class": NoOpComputeLogManager.__name__}
    ref = InstanceRef.from_dir(os.environ["DAGSTER_HOME"], overrides={"compute_logs": capture})
    return dg.DagsterInstance.from_ref(ref)


def print_status(home: Home, pipeline: str) -> None:
    """A line an asset: fresh, stale with its causes, missing, or blocked by a check. Batches are summed up."""
    with dg.DagsterInstance.get() as instance:
        graph = project_definitions().resolve_asset_graph()
        found = statuses(instance, graph, selected(graph, pipeline))
    whole = [each for each in found if each.partition is None]
    partitioned = Counter((each.key, each.status) for each in found if each.partition is not None)
    for (key, status), count in partitioned.items():
        _line(status, "/".join(key.path), f"{count} batches")
    for each in whole:
        _line(each.status, "/".join(each.key.path), "; ".join(each.causes[:3]))
    total = Counter(each.status for each in found)
    click.echo(", ".join(f"{count} {status}" for status, count in total.items()) + f" in {home.root}")


def withdraw_in_terminal(home: Home, pipeline: str, selectors: Sequence[str], reason: str) -> None:
    """Withdraws, and says what it hits, what it taints and what is out of date since."""
    with _instance() as instance:
        done = withdraw(instance, project_definitions().resolve_asset_graph(), home, pipeline, selectors, reason)
    for each in done.known:
        click.echo(f"{each} was withdrawn before; nothing changes")
    if not done.new:
        return
    for each in done.new:
        click.echo(f"{each} is withdrawn from {pipeline}: {reason}")
    click.echo(render_hits(done.hits))
    click.echo(render_impact(done.impact))
    click.echo(f"{len(done.stale)} assets turned stale{':' if done.stale else ', beyond those that were'}")
    for stage, keys in groupby(sorted(name.split("/")[1:] for name in done.stale), key=itemgetter(0)):
        click.echo(f"  {stage:16} {', '.join(name for _, name in keys)}")
    click.echo(f"Run `pref-assets run {pipeline}`; then `pref-assets impact --pipeline {pipeline}` says what is clean.")


def impact_in_terminal(home: Home, pipeline: str, selectors: Sequence[str]) -> Impact:
    """What withdrawals taint."""
    with _instance() as instance:
        return impact_of(instance, home, pipeline, selectors)


def _line(status: str, name: str, note: str) -> None:
    mark, colour = MARKS[status]
    click.echo(f"{click.style(mark, fg=colour)} {status:8} {name:52} {note}".rstrip())


def _tell(progress: Progress) -> None:
    batch = f" [{progress.partition}]" if progress.partition else ""
    clock = time.strftime("%H:%M:%S")
    if progress.kind == "registered":
        click.echo(f"{clock}  new batch{batch} {progress.name}")
    elif progress.kind == "taken_back":
        click.echo(f"{clock}  batch{batch} of {progress.name} is taken back: its file is gone or changed")
    elif progress.kind == "materialized":
        count = "" if progress.rows is None else f"{progress.rows:>9,} rows"
        count += "" if progress.kept is None else f", {progress.kept:,} kept"
        click.echo(f"{clock}  {progress.name + batch:72} {count:26} {progress.seconds or 0:7.1f} s")
    elif progress.kind in ("failed", "check_failed", "unreadable"):
        click.secho(f"{clock}  {progress.name}{batch} failed: {progress.message}", fg="red", err=True)


def _show_results(home: Home, pipeline: str) -> None:
    store, key = TableStore(home.tables), asset_key(pipeline, "reports", "leaderboard").path
    if store.exists(key):
        click.secho("\nLeaderboard (held-out data, 95 % intervals)\n", bold=True)
        click.echo(markdown(store.read(key)))
    trained = [manifest for _, manifest in manifests(home, pipeline)]
    if trained:
        with suppress(UnknownQueryError):
            first: dict[str, Any] = next(rows(home, trained[-1].name, pipeline))
            click.secho("\nOne row's path (`pref-assets trace <pair id>`)\n", bold=True)
            click.echo(render(trace(home, pipeline, first["pair_id"])))


def _close(report: RunReport) -> None:
    if not report.materialized and report.ok:
        click.echo(f"everything is fresh ({report.fresh} assets and batches); nothing to do, {report.seconds:.1f} s")
    elif report.ok:
        click.echo(f"{len(report.materialized)} materializations in {report.seconds:.0f} s")
    else:
        click.secho(
            f"{len(report.failures)} failed after {report.seconds:.0f} s; what was done is kept. "
            "Fix the cause and run again.",
            fg="red",
            err=True,
        )
    click.echo("Open the graph: `make ui` or `pref-assets ui`, then http://127.0.0.1:3000")
