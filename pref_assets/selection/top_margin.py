"""The pairs with the largest score: strong preferences first."""

from typing import Literal

import polars as pl

from pref_assets.selection.base import BudgetField, Pool, Selector, decide, ranked
from pref_assets.settings import ScoresName


class TopMargin(Selector):
    """Keeps the pairs with the highest margin between chosen and rejected."""

    type: Literal["top_margin"] = "top_margin"
    scores: ScoresName
    """Scores to rank by."""
    budget: BudgetField
    """How many to keep: `96` pairs, or `25%` of the train pairs."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite score, or the budget is larger than the pool.
        """
        order = ranked(pool.scored(self.scores, "score"), self.seed)
        count = self.budget.resolve(len(order))
        cut = order["score"][count - 1] if count else None
        selected = pl.int_range(pl.len()) < count
        reason = pl.when(selected).then(pl.lit("selected: margin")).otherwise(pl.lit(f"below_cut: the cut is {cut}"))
        return decide(pool, order.select("pair_id", "score", selected=selected, reason=reason))
