"""The pairs that call for the most skills that go together."""

from typing import Literal

import polars as pl

from pref_assets.pool import Pool
from pref_assets.selection.base import decide, ranked
from pref_assets.selection.budget import Budgeted
from pref_assets.settings import ScoresName


class SkillGraph(Budgeted):
    """Keeps the pairs with the highest skill-graph score, as MASS keeps the top of its data (Li et al.,
    arXiv:2503.14917). The reason names the skill that a kept pair is nearest to. O(n log n)."""

    type: Literal["skill_graph"] = "skill_graph"
    scores: ScoresName
    """Scores of type `skill_graph`."""
    aggregation: Literal["score", "quadratic", "linear"] = "score"
    """Which sum to rank by: the one that the scores chose, or one of both."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite score, or the budget is larger than the pool.
        """
        named = pool.scores[self.scores].select("pair_id", skill=pl.col("category").fill_null("none"))
        order = ranked(pool.scored(self.scores, self.aggregation).join(named, on="pair_id"), self.seed)
        order = order.with_columns(selected=pl.Series(self.take(pool, order["pair_id"].to_list()), dtype=pl.Boolean))
        cut = order["score"].filter(order["selected"]).min()
        reason = (
            pl.when("selected")
            .then(pl.format("selected: nearest skill {}", "skill"))
            .otherwise(pl.format("below_cut: the cut is {}", pl.lit(cut, pl.Float64)))
        )
        return decide(pool, order.select("pair_id", "score", "selected", reason=reason))
