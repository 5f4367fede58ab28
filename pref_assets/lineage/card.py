"""The data card of a pipeline, as Markdown: what the data is, where it is from, what was done to it, who uses it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from pref_assets.credentials import without_credentials
from pref_assets.lineage.facts import STAGE, TABLES, Facts
from pref_assets.pairs.agreement import ALL

_SNIPPET = """```python
import polars as pl

# Paths are relative to the state folder (PREF_ASSETS_HOME). A version never changes.
{reads}

texts = completions.select("completion_id", pl.col("messages").list.last().struct.field("content").alias("text"))
chosen = texts.rename({{"completion_id": "chosen_id", "text": "chosen"}})
rejected = texts.rename({{"completion_id": "rejected_id", "text": "rejected"}})
pairs.filter(pl.col("split") == "train").join(chosen, on="chosen_id").join(rejected, on="rejected_id").collect()
```"""
_READ_BY = ("prompts", "completions", "pairs")


def markdown(facts: Facts) -> str:
    """The whole card; equal facts give equal text. Credentials in addresses are taken out."""
    parts: list[Iterable[str]] = [
        _title(facts),
        _counts(facts),
        _sources(facts),
        _quarantine(facts),
        _curation(facts),
        _audit(facts),
        _checks(facts),
        _agreement(facts),
        _withdrawals(facts),
        _uses(facts),
        _tables(facts),
    ]
    lines = [line for part in parts for line in part]
    return without_credentials("\n".join(lines).rstrip() + "\n")


def stages(facts: Facts) -> list[tuple[str, int]]:
    """What there was at every stage, in the order in which data flows."""
    rows = {name: snapshot.rows for name, snapshot in facts.tables.items()}
    return [
        ("rows read", int(facts.rows["rows"].sum())),
        ("rows in quarantine", int(facts.quarantine["rows"].sum())),
        ("prompts", rows.get("prompts", 0)),
        ("completions", rows.get("completions", 0)),
        ("votes", facts.votes or 0),
        ("comparisons", rows.get("comparisons", 0)),
        ("comparisons taken out", rows.get("pair_drops", 0)),
        ("pairs", rows["pairs"]),
    ]


def _title(facts: Facts) -> Iterator[str]:
    yield from (f"# Data card: {facts.about.pipeline}", "")
    if facts.about.description:
        yield from (facts.about.description, "")


def _counts(facts: Facts) -> Iterator[str]:
    yield from _section("At a glance", ("stage", "count"), [(name, f"{count:,}") for name, count in stages(facts)])
    splits = [(split, f"{prompts:,}", f"{pairs:,}") for split, prompts, pairs in facts.splits.iter_rows()]
    yield from _table(("split", "prompts", "pairs"), splits)


def _sources(facts: Facts) -> Iterator[str]:
    yield from ("## Sources", "")
    counts = {(source, batch): rows for source, batch, rows in facts.rows.iter_rows()}
    for name, source in facts.about.sources.items():
        yield from (f"### {name}", "", f"- Format: `{source.type}`", f"- Location: `{source.location}`")
        yield f"- Licence: {source.licence or 'not stated in the pipeline file'}"
        if source.homepage:
            yield f"- Described at: {source.homepage}"
        if source.settings:
            yield f"- Read with: `{_json(source.settings)}`"
        yield ""
        yield from _table(
            ("file", "batch", "rows", "bytes", "pinned by", "first seen"),
            [
                (
                    file.uri,
                    file.batch,
                    f"{counts[file.source, file.batch]:,}",
                    "" if file.size is None else f"{file.size:,}",
                    f"`{file.pin}`",
                    file.registered,
                )
                for file in facts.files
                if file.source == name
            ],
            "No file was read yet.",
        )
        if source.beside:
            beside = [(uri, f"`sha256 {sha256}`") for uri, sha256 in source.beside]
            yield from _table(("file read beside the rows", "pinned by"), beside)


def _quarantine(facts: Facts) -> Iterator[str]:
    rows = [(source, f"`{code}`", f"{count:,}") for source, code, count in facts.quarantine.iter_rows()]
    yield from _section("Rows that could not be read", ("source", "code", "rows"), rows, "None.")


def _curation(facts: Facts) -> Iterator[str]:
    yield from ("## From rows to pairs", "", f"A pair is decided by its {facts.about.votes}.", "")
    settings = [(f"`{name}`", f"`{_json(value)}`") for name, value in facts.about.pairs.items()]
    yield from _table(("setting", "value"), settings)
    out = [(f"`{code}`", action, f"{n:,}") for code, action, n in facts.drops.iter_rows()]
    yield from ("Comparisons taken out:", "")
    yield from _table(("code", "action", "comparisons"), out, "None.")
    yield from ("Comparisons that the votes do not settle, which are among them:", "")
    unsettled = [(f"`{code}`", f"{n:,}") for code, n in facts.undecided.iter_rows()]
    yield from _table(("code", "comparisons"), unsettled, "None.")


def _audit(facts: Facts) -> Iterator[str]:
    rules = [
        (f"`{rule.code}`", rule.severity, rule.action, f"{facts.flags.get(rule.code, 0):,}", rule.what)
        for rule in facts.about.rules
    ]
    yield from _section("Audit", ("rule", "severity", "policy", "comparisons", "what it finds"), rules)


def _checks(facts: Facts) -> Iterator[str]:
    yield from ("## Duplicates and benches", "")
    if facts.about.pairs["duplicates"] is None:
        yield from ("Near duplicates were not looked for.", "")
    else:
        rows = {name: snapshot.rows for name, snapshot in facts.tables.items()}
        yield from _table(
            ("near duplicates", "found"),
            [
                ("prompts that nearly repeat an earlier one", f"{rows.get('prompt_duplicates', 0):,}"),
                ("pairs that nearly repeat an earlier one", f"{rows.get('pair_duplicates', 0):,}"),
            ],
        )
    if "images" in facts.tables:
        said = f"Of {facts.tables['images'].rows:,} images {facts.images_repeated:,} nearly repeat an earlier one."
        yield from (said, "")
    benches: Mapping[str, Any] = facts.about.pairs["decontamination"]["benches"]
    found = dict(facts.contamination.iter_rows())
    checked = [(name, f"`{bench['location']}`", f"{found.get(name, 0):,}") for name, bench in benches.items()]
    yield from _table(("bench", "location", "pairs that hold its texts"), checked, "No bench was looked for.")


def _agreement(facts: Facts) -> Iterator[str]:
    rows = [
        (
            row["source"],
            row["dimension"],
            f"{row['pairs']:,}",
            f"{row['votes']:,}",
            f"{row['annotators']:,}",
            "" if row["alpha"] is None else f"{row['alpha']:.3f}",
            f"{100 * row['unanimous']:.1f} %",
        )
        for row in facts.agreement.iter_rows(named=True)
        if row["source"] != ALL or len(facts.about.sources) > 1
    ]
    header = ("source", "dimension", "pairs with several votes", "votes", "annotators", "alpha", "unanimous")
    yield from ("## Annotators", "", f"{facts.annotators:,} annotators gave {facts.votes or 0:,} votes.", "")
    yield from _table(header, rows, "No pair has several votes on one dimension.")


def _withdrawals(facts: Facts) -> Iterator[str]:
    columns = ("kind", "value", "reason", "at")
    rows = [tuple(str(cell) for cell in row) for row in facts.withdrawals.select(columns).iter_rows()]
    yield from _section("Withdrawn", columns, rows, "Nothing was withdrawn.")


def _uses(facts: Facts) -> Iterator[str]:
    if facts.uses is None:
        return
    rows = [
        (use.kind, use.name, f"`{use.version}`", "" if use.pairs is None else f"{use.pairs:,}", use.made_from, use.pin)
        for use in facts.uses
    ]
    header = ("what", "name", "version", "pairs", "made from", "content hash, or when")
    yield from _section("Used by", header, rows, "Nothing was made from these pairs yet.")


def _tables(facts: Facts) -> Iterator[str]:
    rows = [
        (f"`{name}`", f"{each.version}", f"{each.rows:,}", f"`{each.content_hash}`")
        for name, each in facts.tables.items()
    ]
    yield from _section("Tables", ("table", "version", "rows", "content hash"), rows)
    folder = f"tables/{facts.about.pipeline}/{STAGE}"
    named = [name for name in _READ_BY if name in facts.tables]
    reads = "\n".join(
        f'{name} = pl.scan_delta("{folder}/{name}", version={facts.tables[name].version})' for name in named
    )
    yield from ("Delta tables; Polars, DuckDB and Spark read them.", "", _SNIPPET.format(reads=reads), "")
    for name in facts.tables:
        yield from (f"### {name}", "")
        columns = TABLES[name].columns.items()
        yield from _table(
            ("column", "type", "what it is"),
            [(f"`{column}`", f"`{_dtype(each.dtype)}`", each.description) for column, each in columns],
        )


def _section(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], nothing: str = "Nothing."
) -> Iterator[str]:
    yield from (f"## {title}", "")
    yield from _table(header, rows, nothing)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], nothing: str = "Nothing.") -> Iterator[str]:
    if not rows:
        yield from (nothing, "")
        return
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(_cell(each) for each in row)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _dtype(dtype: Any) -> str:
    """The type in a few letters, with the names of fields."""
    if isinstance(dtype, pl.List):
        return f"list<{_dtype(dtype.inner)}>"
    if isinstance(dtype, pl.Struct):
        return "{" + ", ".join(f"{field.name}: {_dtype(field.dtype)}" for field in dtype.fields) + "}"
    return str(dtype).lower()
