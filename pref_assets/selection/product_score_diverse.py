"""Good in every respect, then different from what was kept."""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.scoring.combined import Factor, product
from pref_assets.selection.base import decide, ranked
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.deita import KEPT, REDUNDANT, greedy_filter
from pref_assets.selection.eligible import take_eligible
from pref_assets.settings import EmbeddingsName


class ProductScoreDiverse(Budgeted):
    """PhysHPO's selection of data (Chen et al., arXiv:2508.10858), on text: pairs by the product of several grades in
    [0, 1], the best first; one is kept when its cosine to those kept before is at most ``threshold``.

    A factor of 0 removes a pair (`zero_factor`): it is never taken, not even to fill up. Visits and comparisons are as
    in `deita`, by the chosen completion. [2nd] The paper's grades are of dynamics, thermodynamics and optics, its
    threshold .9; its first step, two judges that must both say that a video is real, is a factor of 0 and 1 here.
    Needs score entries and embeddings. O(n · kept · d), memory O(block · kept).
    """

    type: Literal["product_score_diverse"] = "product_score_diverse"
    factors: list[Factor] = Field(min_length=1)
    """The grades: `{scores: …, column: …, scale: …}` each."""
    embeddings: EmbeddingsName
    """Embeddings in which pairs are compared, by their chosen completion."""
    threshold: float = Field(default=0.9, ge=-1, le=1)
    """Largest cosine similarity to a kept pair."""
    fill: bool = True
    """When too few are different enough: fill up with the best of the others (`filled`), or stop short (false)."""
    block: int = Field(default=1024, ge=1)
    """Pairs compared at once; changes speed, never the result."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite factor, one outside [0, 1], or no finite vector; fewer
                pairs have a positive product than the budget asks.
        """
        candidates = pool.candidates()
        graded = product(pool.only(candidates["pair_id"]), self.factors)
        candidates = candidates.join(graded, on="pair_id", maintain_order="left")
        order = ranked(candidates, self.seed).with_columns(eligible=pl.col("score") > 0)
        count = min(self.most(pool), int(order["eligible"].sum()))
        good = order.filter("eligible")
        vectors = pool.embeddings[self.embeddings].rows(good["chosen_id"].to_list())
        limit = self.threshold if self.threshold < 1 else np.inf  # in float32 a cosine of 1 can come out larger
        state, near, cosine = greedy_filter(vectors, count, limit, self.block)
        ids = good["pair_id"].to_list()
        seen = good.select("pair_id").with_columns(
            state=pl.Series(state),
            near=pl.Series([ids[row] if row >= 0 else None for row in near.tolist()], dtype=pl.String),
            cosine=pl.Series(cosine),
        )
        order = order.join(seen, on="pair_id", how="left", maintain_order="left")
        return decide(pool, self._reasons(pool, order))

    def _reasons(self, pool: Pool, order: pl.DataFrame) -> pl.DataFrame:
        """The candidates as they are taken, with why: those different enough, what fills up, what was never reached,
        what a zero removes."""
        kept, redundant = pl.col("state") == KEPT, pl.col("state") == REDUNDANT
        place = pl.when(~pl.col("eligible")).then(3).when(kept).then(0).when(redundant).then(1).otherwise(2)
        order = order.sort(place, maintain_order=True)
        taken = take_eligible(self.type, self, pool, order, "a product above 0")
        order = order.with_columns(taken=pl.Series(taken)).with_columns(
            kept=pl.col("taken") & kept.fill_null(value=False),
            filled=pl.col("taken") & ~kept.fill_null(value=False) & self.fill,
        )
        detail = pl.format("cosine {} to {}", pl.col("cosine").round(4), "near")
        reason = (
            pl.when(~pl.col("eligible"))
            .then(pl.lit("zero_factor: a factor is 0"))
            .when("kept")
            .then(pl.lit("selected: best of those different enough"))
            .when(pl.col("filled") & redundant)
            .then(pl.format("filled: {}", detail))
            .when("filled")  # a budget in tokens: the filter stopped at the most pairs, not at the last token
            .then(pl.lit("filled: fits in the tokens left"))
            .when(redundant)
            .then(pl.format("redundant: {}", detail))
            .otherwise(pl.lit("below_cut: the budget was reached before it"))
        )
        selected = pl.col("kept") | pl.col("filled")
        return order.select("pair_id", "score", selected=selected, reason=reason)
