"""What a home knows of a pipeline's data: files, rows, tables, counts at every stage, and what uses them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from pref_assets.home import Home
from pref_assets.lineage.about import About
from pref_assets.lineage.tables import PipelineTables
from pref_assets.pairs.schema import (
    AGREEMENT,
    ANNOTATORS,
    COMPARISONS,
    COMPLETIONS,
    CONTAMINATION,
    FLAGS,
    IMAGES,
    PAIR_DROPS,
    PAIR_DUPLICATES,
    PAIRS,
    PROMPT_DUPLICATES,
    PROMPTS,
    QUARANTINE,
    RAW,
    WITHDRAWALS,
    Table,
)
from pref_assets.tables import Snapshot

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        PROMPTS,
        COMPLETIONS,
        PAIRS,
        COMPARISONS,
        PAIR_DROPS,
        FLAGS,
        AGREEMENT,
        ANNOTATORS,
        PROMPT_DUPLICATES,
        PAIR_DUPLICATES,
        IMAGES,
        CONTAMINATION,
        WITHDRAWALS,
    )
}
"""Tables of the pairs stage that a card tells of."""
STAGE = "pairs"


@dataclass(frozen=True)
class File:
    """A registered batch of a source.

    Attributes:
        source, batch: whose it is.
        uri: the file, as the source's location names it.
        sha256: hash of its bytes; null for what is not a file.
        size: bytes; null where not known.
        pin: what makes sure that the content is the same.
        registered: when it was first seen, ISO 8601.
    """

    source: str
    batch: str
    uri: str
    sha256: str | None
    size: int | None
    pin: str
    registered: str


@dataclass(frozen=True)
class Use:
    """Something made from the data: a subset, a checkpoint or an evaluation.

    Attributes:
        kind: which of them.
        name, version: which one; the version of a table is its Delta version.
        pairs: how many pairs it holds; null for an evaluation.
        made_from: its inputs, in words.
        pin: content hash, or when it was made.
    """

    kind: str
    name: str
    version: str
    pairs: int | None
    made_from: str
    pin: str


@dataclass(frozen=True)
class Facts:
    """Everything a card tells. Frames are sorted; all versions are those that the counts were taken from.

    Attributes:
        about: what the pipeline file says.
        files: batches that were read, by source and order of registration.
        rows: source, batch, rows: rows read.
        quarantine: source, code, rows.
        tables: snapshot of every table there is, in the order of ``TABLES``.
        undecided: code, comparisons: what the votes do not settle.
        drops: code, action, pairs.
        splits: split, prompts, pairs.
        flags: code to flagged pairs.
        annotators, votes: how many.
        agreement: ``AGREEMENT``.
        contamination: bench, pairs.
        images_repeated: images that nearly repeat an earlier one.
        withdrawals: ``WITHDRAWALS``.
        uses: what was made from the data; null where nobody asked.
    """

    about: About
    files: list[File]
    rows: pl.DataFrame
    quarantine: pl.DataFrame
    tables: dict[str, Snapshot]
    undecided: pl.DataFrame
    drops: pl.DataFrame
    splits: pl.DataFrame
    flags: dict[str, int]
    annotators: int
    votes: int
    agreement: pl.DataFrame
    contamination: pl.DataFrame
    images_repeated: int
    withdrawals: pl.DataFrame
    uses: list[Use] | None = None


def collect(home: Home, about: About, files: Iterable[File], uses: list[Use] | None = None) -> Facts:
    """The facts of a pipeline's tables as they are now. Only counts are read, no texts.

    Raises:
        UnknownQueryError: the pipeline has no tables in this home.
        MissingTableError: its pairs were not made yet.
        TableError: a table cannot be read.
    """
    tables = PipelineTables.open(home, about.pipeline)
    # Pairs must be there; of the others, some pipelines have none.
    found = {"pairs": tables.store.versioned((about.pipeline, STAGE, "pairs"))}
    for name in TABLES:
        if name not in found and tables.store.exists((about.pipeline, STAGE, name)):
            found[name] = tables.store.versioned((about.pipeline, STAGE, name))
    scans = {name: found[name].rows if name in found else table.empty().lazy() for name, table in TABLES.items()}
    rows, quarantine = _read(tables, about.sources)
    known = set(rows.select("source", "batch").iter_rows())
    people = scans["annotators"].select(pl.col("annotator").n_unique(), pl.col("votes").sum()).collect()
    flagged = scans["flags"].group_by("code").agg(pl.col("pair_id").n_unique()).collect()
    return Facts(
        about=about,
        files=[file for file in files if (file.source, file.batch) in known],
        rows=rows,
        quarantine=quarantine,
        tables={name: found[name].snapshot for name in TABLES if name in found},
        undecided=_counted(scans["comparisons"].filter(pl.col("code").is_not_null()), "code"),
        drops=_counted(scans["pair_drops"], "code", "action"),
        splits=_splits(scans),
        flags=dict(flagged.iter_rows()),
        annotators=people["annotator"].item(),
        votes=people["votes"].item(),
        agreement=scans["agreement"].collect().sort(AGREEMENT.key),
        contamination=_benches(scans["contamination"]),
        images_repeated=scans["images"].select(pl.col("near").count()).collect().item(),
        withdrawals=scans["withdrawals"].collect().sort("at", "withdrawal_id"),
        uses=uses,
    )


def _read(tables: PipelineTables, sources: Mapping[str, object]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows read by source and batch, and rows in quarantine by source and code."""
    rows, bad = [], []
    for name in sources:
        rows.append(tables.scan("raw", name, RAW).select("source", "batch"))
        bad.append(tables.scan("records", f"{name}_quarantine", QUARANTINE).select("source", "code"))
    counted = pl.concat(rows).group_by("source", "batch").agg(rows=pl.len()).collect(engine="streaming")
    refused = pl.concat(bad).group_by("source", "code").agg(rows=pl.len()).collect(engine="streaming")
    return counted.sort("source", "batch"), refused.sort("source", "code")


def _counted(frame: pl.LazyFrame, *by: str) -> pl.DataFrame:
    """Rows by the columns, most frequent first."""
    return frame.group_by(by).agg(n=pl.len()).sort("n", *by, descending=[True, *(False for _ in by)]).collect()


def _splits(scans: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
    prompts = scans["prompts"].group_by("split").agg(prompts=pl.len()).collect()
    pairs = scans["pairs"].group_by("split").agg(pairs=pl.len()).collect()
    return prompts.join(pairs, on="split", how="full", coalesce=True).fill_null(0).sort("split")


def _benches(contamination: pl.LazyFrame) -> pl.DataFrame:
    return contamination.group_by("bench").agg(pairs=pl.col("pair_id").n_unique()).sort("bench").collect()
