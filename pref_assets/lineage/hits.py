"""What withdrawals hit in the data as it is now."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from pref_assets.lineage.tables import PipelineTables
from pref_assets.lineage.withdrawal import Records, Selector, Tombstones, tombstones
from pref_assets.pairs.schema import (
    COMPARISONS,
    PAIRS,
    QUARANTINE,
    RAW,
    RECORD_COMPLETIONS,
    RECORD_PROMPTS,
    RECORD_VOTES,
    Table,
)


@dataclass(frozen=True)
class Hits:
    """Counts of what goes, beyond what earlier withdrawals took.

    Attributes:
        rows: rows of source files that hold any of it.
        prompts, completions: of these, no row is left that holds them.
        votes, ratings: as rows of the data have them.
        comparisons: those that hold any of it; they go, or are judged anew by the votes that are left.
        pairs: of these, the ones that are pairs now.
        batches: batches that hold any of it, as ``<source>/<batch>``.
    """

    rows: int
    prompts: int
    completions: int
    votes: int
    ratings: int
    comparisons: int
    pairs: int
    batches: tuple[str, ...]

    @property
    def any(self) -> bool:
        return bool(self.rows or self.comparisons or self.pairs)


def hits(tables: PipelineTables, selectors: Sequence[Selector]) -> Hits:
    """What selectors hit, over all sources."""
    earlier, new = Tombstones.of(tombstones(tables.home, tables.pipeline)), Tombstones(selectors)
    before = earlier.without(_records(tables))
    after = new.without(before)
    places = pl.concat(_places(tables, source, new) for source in tables.names("raw")).unique().collect()
    prompts = _distinct(before.prompts, "prompt_id") - _distinct(after.prompts, "prompt_id")
    completions = _distinct(before.completions, "completion_id") - _distinct(after.completions, "completion_id")
    votes, ratings = (count(before) - count(after) for count in (_votes, _ratings))
    comparisons, pairs = [
        tables.scan("pairs", each.name, each).filter(new.pairs()).select(pl.len()).collect().item()
        for each in (COMPARISONS, PAIRS)
    ]
    batches = places.select("source", "batch").unique().sort("source", "batch").rows()
    rows = places.select("uri", "row").n_unique()
    names = tuple(f"{source}/{batch}" for source, batch in batches)
    return Hits(rows, prompts, completions, votes, ratings, comparisons, pairs, names)


def held(tables: PipelineTables, source: str, stones: Tombstones, stage: str) -> list[str]:
    """Batches of a source that still hold something withdrawn in their tables of stage ``raw`` or ``records``."""
    if not stones:
        return []
    conditions = _conditions(stones)
    names = {name for name in conditions if (name == "") == (stage == "raw")}
    found = [_found(tables, source, name, conditions[name]).select("batch") for name in sorted(names)]
    return sorted(pl.concat(found).unique().collect()["batch"])


_TABLES: dict[str, Table] = {
    "": RAW,
    "_prompts": RECORD_PROMPTS,
    "_completions": RECORD_COMPLETIONS,
    "_votes": RECORD_VOTES,
    "_quarantine": QUARANTINE,
}


def _conditions(stones: Tombstones) -> dict[str, pl.Expr]:
    return {
        "": stones.places(),
        "_prompts": stones.prompts(),
        "_completions": stones.completions() | stones.rated(),
        "_votes": stones.votes(),
        "_quarantine": stones.places(),
    }


def _found(tables: PipelineTables, source: str, name: str, condition: pl.Expr) -> pl.LazyFrame:
    stage = "records" if name else "raw"
    return tables.scan(stage, f"{source}{name}", _TABLES[name]).filter(condition)


def _places(tables: PipelineTables, source: str, stones: Tombstones) -> pl.LazyFrame:
    """source, uri, row and batch of whatever is hit."""
    columns = ("source", "uri", "row", "batch")
    return pl.concat(_found(tables, source, name, each).select(columns) for name, each in _conditions(stones).items())


def _records(tables: PipelineTables) -> Records:
    def together(name: str) -> pl.LazyFrame:
        return pl.concat(tables.scan("records", f"{each}{name}", _TABLES[name]) for each in tables.names("raw"))

    return Records(together("_prompts"), together("_completions"), together("_votes"))


def _distinct(rows: pl.LazyFrame, column: str) -> int:
    return int(rows.select(pl.col(column).n_unique()).collect(engine="streaming").item())


def _votes(records: Records) -> int:
    return int(records.votes.select(pl.len()).collect(engine="streaming").item())


def _ratings(records: Records) -> int:
    return int(records.completions.select(pl.col("ratings").list.len().sum()).collect(engine="streaming").item())
