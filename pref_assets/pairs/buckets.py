"""Ranges of prompt ids that hold about equally many rows: how tables larger than memory are merged part by part."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

_PREFIX = 4
"""Characters of an id that are told apart: 65,536 steps of hexadecimal."""


@dataclass(frozen=True)
class Range:
    """Prompt ids from ``low`` up to but without ``high``; null has no bound."""

    low: str | None = None
    high: str | None = None

    def of(self, table: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of a table with a column ``prompt_id`` that are in the range; a null id never is."""
        rows = table.filter(pl.col("prompt_id").is_not_null())
        if self.low is not None:
            rows = rows.filter(pl.col("prompt_id") >= pl.lit(self.low))
        if self.high is not None:
            rows = rows.filter(pl.col("prompt_id") < pl.lit(self.high))
        return rows


def prompt_ranges(tables: Sequence[pl.LazyFrame], rows: int) -> list[Range]:
    """Ranges that cover all ids in order, each with about ``rows`` rows of all tables together.

    Only ids are read. A range holds at least all rows whose ids share their first four characters.
    """
    steps = [
        table.select(step=pl.col("prompt_id").str.head(_PREFIX)).group_by("step").agg(rows=pl.len()) for table in tables
    ]
    counts = pl.concat(steps).filter(pl.col("step").is_not_null()).group_by("step").agg(pl.col("rows").sum())
    starts: list[str] = []
    filled = rows
    for step, count in counts.sort("step").collect(engine="streaming").iter_rows():
        if filled + count > rows and filled:
            starts.append(step)
            filled = 0
        filled += count
    bounds = [None, *starts[1:], None]
    return [Range(low, high) for low, high in pairwise(bounds)]
