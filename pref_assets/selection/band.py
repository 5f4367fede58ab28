"""The middle of a list, or any other part of it."""

from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pool import Pool
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.eligible import drawn, take_eligible
from pref_assets.selection.values import candidate_values, in_order
from pref_assets.settings import ScoresName


class Band(Budgeted):
    """Keeps pairs from a band of percentiles of a number: not the noisy lowest margins, nor the trivial highest.

    Wang et al. (arXiv:2401.06080, section 2.1) find wrong labels among the lowest margins and pairs to overfit among
    the highest. The candidate at place i of n, lowest first and ties by the seed, is at percentile (i + 1/2) / n, so
    that a band holds its share of the pairs whatever the values. O(n log n).
    """

    type: Literal["band"] = "band"
    scores: ScoresName | None = None
    """Scores to rank by; left out, `column` is a number of the pairs: `p_chosen` or `strength`."""
    column: str = "score"
    """Which number: a column of the scores, or one of their named details."""
    low: float = Field(default=0.25, ge=0, le=1)
    """Lower end of the band, as a share of the candidates below it."""
    high: float = Field(default=0.75, ge=0, le=1)
    """Upper end, not itself in the band."""
    within: Literal["random", "centre_out"] = "random"
    """Which of the band when it holds more than the budget: a random sample, or those nearest its middle percentile."""

    @model_validator(mode="after")
    def _has_a_width(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"a band goes from low to high, but low is {self.low:g} and high is {self.high:g}")
        return self

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite value, or the band holds fewer pairs than the budget.
        """
        scored = in_order(candidate_values(pool, self.scores, self.column), self.seed, ascending=True)
        percentile = (pl.int_range(pl.len()) + 0.5) / pl.len()
        order = scored.select("pair_id", "score", percentile=percentile)
        order = order.with_columns(eligible=pl.col("percentile").is_between(self.low, self.high, closed="left"))
        order = drawn(order, self.seed, "band")
        if self.within == "centre_out":
            off = (pl.col("percentile") - (self.low + self.high) / 2).abs()
            order = order.sort(~pl.col("eligible"), off, maintain_order=True)
        rule = f"a percentile in [{self.low:g}, {self.high:g})"
        kept = take_eligible(self.type, self, pool, order, rule)
        order = order.with_columns(selected=pl.Series(kept, dtype=pl.Boolean))
        at = pl.format("percentile {}", (100 * pl.col("percentile")).round(2))
        reason = (
            pl.when("selected")
            .then(pl.format("selected: {}", at))
            .when("eligible")
            .then(pl.format("over_budget: {}", at))
            .when(pl.col("percentile") < self.low)
            .then(pl.format("below_band: {}", at))
            .otherwise(pl.format("above_band: {}", at))
        )
        return decide(pool, order.select("pair_id", "score", "selected", reason=reason))
