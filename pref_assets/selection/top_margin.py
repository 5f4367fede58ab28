"""The pairs with the largest score: strong preferences first."""

from typing import Literal

import polars as pl

from pref_assets.pool import Pool
from pref_assets.selection.base import decide, ranked
from pref_assets.selection.budget import Budgeted
from pref_assets.settings import ScoresName


class TopMargin(Budgeted):
    """Keeps the pairs with the highest margin between chosen and rejected."""

    type: Literal["top_margin"] = "top_margin"
    scores: ScoresName
    """Scores to rank by."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite score, or the budget is larger than the pool.
        """
        order = ranked(pool.scored(self.scores, "score"), self.seed)
        selected = pl.Series(self.take(pool, order["pair_id"].to_list()), dtype=pl.Boolean)
        cut = order["score"].filter(selected).min()
        reason = (
            pl.when("selected")
            .then(pl.lit("selected: margin"))
            .otherwise(pl.format("below_cut: the cut is {}", pl.lit(cut, pl.Float64)))
        )
        return decide(pool, order.select("pair_id", "score", selected=selected).with_columns(reason=reason))
