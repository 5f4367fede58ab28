"""The first of a list: rank by any number and cut."""

from typing import Literal

import polars as pl

from pref_assets.pool import Pool
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.values import candidate_values, in_order
from pref_assets.settings import ScoresName


class TopK(Budgeted):
    """Keeps the pairs with the highest, or lowest, value of any number known of them. O(n log n).

    `top_margin` is this on the margin alone. [choice] Equal values are ordered by the seed, so constant values make a
    random sample.
    """

    type: Literal["top_k"] = "top_k"
    scores: ScoresName | None = None
    """Scores to rank by; left out, `column` is a number of the pairs: `p_chosen` or `strength`."""
    column: str = "score"
    """Which number: a column of the scores, or one of their named details."""
    ascending: bool = False
    """Take the lowest values in place of the highest."""
    missing: Literal["refuse", "last"] = "refuse"
    """What becomes of pairs without a finite value among the scores, e.g. where a judge gave no verdict: an error, or
    the last places, in an order drawn from the seed."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite value (unless ``missing`` is `last`), or the budget is larger than
                the pool.
        """
        values = candidate_values(pool, self.scores, self.column, may_lack=self.missing == "last")
        order = in_order(values, self.seed, ascending=self.ascending)
        selected = pl.Series(self.take(pool, order["pair_id"].to_list()), dtype=pl.Boolean)
        kept = order["score"].filter(selected)
        cut = kept.max() if self.ascending else kept.min()
        side, code = ("lowest", "above_cut") if self.ascending else ("highest", "below_cut")
        reason = (
            pl.when(pl.col("selected") & pl.col("score").is_null())
            .then(pl.lit(f"selected: without {self.column}, to fill the budget"))
            .when(pl.col("score").is_null())
            .then(pl.lit(f"unscored: no {self.column}"))
            .when("selected")
            .then(pl.lit(f"selected: among the {side} {self.column}"))
            .otherwise(pl.format(f"{code}: the cut is {{}}", pl.lit(cut, pl.Float64)))
        )
        return decide(pool, order.select("pair_id", "score", selected=selected).with_columns(reason=reason))
