"""The joint of scoring: a pool goes in, a row of numbers for every pair comes out."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

import polars as pl

from pref_assets.pairs.schema import NAMED_VALUE, PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.settings import Settings
from pref_assets.training.job import Reporter

Write = Callable[[pl.DataFrame], None]
"""Appends measured rows to the store; what was written survives a kill."""

RankBy = Literal["margin", "chosen", "rejected", "mean"]
"""How the numbers of two completions become the one that selectors rank by."""


class Scorer(Settings):
    """Puts a number on every pair. Subclasses set ``type`` and implement ``score``."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of every pair of the pool, ordered by id.

        A number that is not defined for a pair is null, never NaN; ``category`` says why where that is not plain.
        Equal inputs give equal numbers, whatever the row order.
        """
        raise NotImplementedError


class Measured(Settings):
    """What a model or a server says of items. It is measured once for each item, in a child process, and kept in the
    store under a key that holds everything it depends on.

    Subclasses set ``kind`` and implement the methods below; ``combine`` of each makes its own table of what was
    measured.
    """

    kind: ClassVar[str]
    """Table of the store that holds what was measured; its columns are the same for every key."""

    def key(self, pool: Pool) -> str:
        """Store key: everything a row depends on (model, revision, template, lengths, method), nothing else."""
        raise NotImplementedError

    def items(self, pool: Pool) -> pl.DataFrame:
        """What there is to measure: frame (id, …), one row for each item, ``id`` a content id."""
        raise NotImplementedError

    def sources(self, pool: Pool) -> dict[str, str]:
        """What ``measure`` needs beside the items, e.g. folders of checkpoints."""
        return {}

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Measures every item and hands rows (id, …) to ``write`` a chunk at a time. Runs in the child.

        Returns:
            Counts worth showing on the asset (tokens, requests, cost); seconds and items are counted elsewhere.
        """
        raise NotImplementedError


class MeasuredScorer(Measured, Scorer):
    """A scorer whose numbers are measured; ``combine`` makes pairs of them, in place of ``score``."""

    @property
    def draws(self) -> bool:
        """Whether the numbers come from texts that a model writes, of which the rounding of a probability can turn
        one."""
        return False

    def combine(self, pool: Pool, measured: pl.DataFrame) -> pl.DataFrame:
        """``PAIR_SCORES`` of every pair from the measured rows (id, …) of ``items``."""
        raise NotImplementedError


def pair_scores(frame: pl.DataFrame, details: Sequence[str] = ()) -> pl.DataFrame:
    """A frame with at least pair_id and score as a full ``PAIR_SCORES`` table, ordered by id.

    ``details`` names further float columns of the frame that selectors may rank by; NaN becomes null everywhere.
    """
    numbers = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    frame = frame.with_columns(pl.col(numbers).fill_nan(None))
    named = [pl.struct(name=pl.lit(each), value=pl.col(each).cast(pl.Float64)) for each in details]
    packed = pl.concat_list(named) if named else pl.lit([], pl.List(NAMED_VALUE))
    empty = {name: pl.lit(None, dtype) for name, dtype in PAIR_SCORES.schema.items() if name not in frame.columns}
    frame = frame.with_columns(**{**empty, "details": packed.cast(pl.List(NAMED_VALUE))})
    return PAIR_SCORES.conform(frame.select(list(PAIR_SCORES.columns)).sort("pair_id"))


def sides(pairs: pl.DataFrame, values: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The pairs, ordered by id, with ``<column>_chosen`` and ``<column>_rejected`` from a frame (id, …) of
    completions; null where a completion has no row."""
    frame = pairs.sort("pair_id")
    for side in ("chosen", "rejected"):
        named = values.select(pl.col("id").alias(f"{side}_id"), *(pl.col(c).alias(f"{c}_{side}") for c in columns))
        frame = frame.join(named, on=f"{side}_id", how="left", validate="m:1", maintain_order="left")
    return frame


def ranked_by(by: RankBy, chosen: pl.Expr, rejected: pl.Expr) -> pl.Expr:
    """The number to rank by: chosen - rejected, either alone, or their mean."""
    found = {"margin": chosen - rejected, "chosen": chosen, "rejected": rejected, "mean": (chosen + rejected) / 2}
    return found[by]
