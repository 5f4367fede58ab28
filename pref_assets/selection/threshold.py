"""A filter: what lies within limits passes."""

from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.pool import Pool
from pref_assets.selection.base import Selector, decide
from pref_assets.selection.budget import BudgetField
from pref_assets.selection.eligible import draw_of, drawn, take_eligible
from pref_assets.selection.values import candidate_values
from pref_assets.settings import CountedName, ScoresName


class Threshold(Selector):
    """Keeps the pairs whose number lies within limits, all of them or a random sample of exactly the budget.

    The first step of most published recipes (MM-RLHF, UltraFeedback binarised). A budget draws among those that pass,
    so that the subset is comparable with `random` of the same size. O(n log n).
    """

    type: Literal["threshold"] = "threshold"
    scores: ScoresName | None = None
    """Scores to look at; left out, `column` is a number of the pairs: `p_chosen` or `strength`."""
    column: str = "score"
    """Which number: a column of the scores, or one of their named details."""
    min: float | None = Field(default=None, allow_inf_nan=False)
    """Smallest value that passes; no lower limit if left out."""
    max: float | None = Field(default=None, allow_inf_nan=False)
    """Largest value that passes; no upper limit if left out."""
    budget: BudgetField | None = None
    """How much to keep of what passes, as a share of all train pairs, a count or tokens; everything if left out."""
    counted_by: CountedName | None = None
    """Embeddings whose token counts a budget in tokens uses."""

    @model_validator(mode="after")
    def _has_limits(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a threshold needs `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"nothing passes: min {self.min:g} is above max {self.max:g}")
        if self.budget is not None and self.budget.tokens is not None and self.counted_by is None:
            raise ValueError("a budget in tokens needs `counted_by`: the embeddings whose token counts it uses")
        return self

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite value, or fewer pass than the budget asks.
        """
        low = -np.inf if self.min is None else self.min
        high = np.inf if self.max is None else self.max
        order = candidate_values(pool, self.scores, self.column).select("pair_id", "score")
        order = drawn(order.with_columns(eligible=pl.col("score").is_between(low, high)), self.seed, "threshold")
        if self.budget is None:
            order = order.with_columns(selected="eligible")
        else:
            draw = draw_of(self.budget, self.counted_by, self.seed)
            kept = take_eligible(self.type, draw, pool, order, f"{self.column} in [{low:g}, {high:g}]")
            order = order.with_columns(selected=pl.Series(kept, dtype=pl.Boolean))
        reason = (
            pl.when("selected")
            .then(pl.format("selected: {} {}", pl.lit(self.column), pl.col("score")))
            .when("eligible")
            .then(pl.lit("over_budget: passes, not drawn"))
            .when(pl.col("score") < low)
            .then(pl.format(f"below_min: {{}} is below {low:g}", pl.col("score")))
            .otherwise(pl.format(f"above_max: {{}} is above {high:g}", pl.col("score")))
        )
        return decide(pool, order.select("pair_id", "score", "selected", reason=reason))
