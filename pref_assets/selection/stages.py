"""Any number of a pair as the stages of a curriculum."""

from itertools import pairwise
from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import Selector, decide
from pref_assets.selection.values import candidate_values, in_order
from pref_assets.settings import ScoresName


class Stages(Selector):
    """Splits the train pairs into stages by any number of theirs, as in TEMPLE (difficulty scheduling, Li et al., AAAI
    2026: one pass of DPO for each level of difficulty, the coarse differences first) and in curricula by reference
    difficulty.

    By rank into `n` stages whose sizes differ by one at most, or at `thresholds`. Every train pair is selected, so
    put it after a selector with a budget, in a `sequence`. The gain of an order shows only beside its controls:
    `order: hard_first`, `order: random` (same sizes), and the same pairs without stages. O(n log n).
    """

    type: Literal["stages"] = "stages"
    scores: ScoresName | None = None
    """Scores with the number; left out, a number of the pairs table (`strength`, `p_chosen`)."""
    column: str = "score"
    """Which number: a column of the scores, one of their named details, or a column of the pairs."""
    easy: Literal["high", "low"] = "high"
    """Which end is easy: high for a gap of rewards, low for a loss or an edit distance."""
    n: int = Field(default=3, ge=1, le=100)
    """Number of stages, where no `thresholds` are set."""
    thresholds: list[float] | None = Field(default=None, min_length=1, max_length=99)
    """Rising limits between stages, each the least number of the part above it."""
    order: Literal["easy_first", "hard_first", "random"] = "easy_first"
    """Which part is stage 1; `random` draws stages of the same sizes (a control)."""

    @model_validator(mode="after")
    def _limits_rise(self) -> Self:
        limits = self.thresholds
        if limits is not None and any(not low < high for low, high in pairwise(limits)):
            raise ValueError(f"thresholds must rise from one to the next: {limits}")
        return self

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; ranks go by stage, inside a stage from easy to hard.

        Raises:
            ValueError: a train pair has no finite number.
        """
        scored = candidate_values(pool, self.scores, self.column)
        order = in_order(scored, self.seed, ascending=self.easy == "low")
        order = order.with_columns(stage=self._stages(order))
        if self.order == "random":
            hashes = seeded_hash(order["pair_id"], self.seed, "stages")
            drawn = order.select(hash=hashes).with_row_index().sort("hash")["index"]
            # The order of hashes decides who gets which of the stages, whose sizes stay.
            order = order.select(pl.exclude("stage")).gather(drawn).with_columns(stage=order["stage"])
        order = order.sort("stage", maintain_order=True)
        reason = pl.format("selected: stage {}, {} {}", "stage", pl.lit(self.column), "score")
        return decide(pool, order.select("pair_id", "score", "stage", selected=pl.lit(value=True), reason=reason))

    def _stages(self, order: pl.DataFrame) -> pl.Series:
        """Stage of each pair, pairs from easy to hard."""
        if self.thresholds is None:
            parts, part = self.n, pl.int_range(pl.len()) * self.n // pl.len()
        else:
            parts = len(self.thresholds) + 1
            above = pl.sum_horizontal(pl.col("score") >= limit for limit in self.thresholds)
            part = above if self.easy == "low" else parts - 1 - above
        stage = parts - part if self.order == "hard_first" else part + 1
        return order.select(stage=stage.cast(pl.Int64))["stage"]
