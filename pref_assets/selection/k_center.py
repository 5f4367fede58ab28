"""Cover the data: always take the pair farthest from everything taken so far."""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.farthest import farthest_first
from pref_assets.selection.pair_vectors import Compare, pair_vectors
from pref_assets.settings import EmbeddingsName


class KCenter(Budgeted):
    """Greedy k-center: Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach"
    (arXiv:1708.00489, algorithm 1), after Gonzalez (1985), who shows that the largest distance to a pick is at most
    twice the best possible.

    The first pick is drawn by the seed; each further one is farthest from those before; ties go to the seed's order.
    It covers the worst point, not the mean: outliers come first, so filter noise before it. Exact, not an
    approximation: a pair's distance is brought up to date only while it could still be the farthest. Time
    O(n · k · d) at worst, far less where points differ in how isolated they are; memory O(n · d).
    """

    type: Literal["k_center"] = "k_center"
    embeddings: EmbeddingsName
    """Embeddings in which pairs are compared."""
    compare: Compare = "chosen"
    """Which completions: the chosen one, or both side by side."""
    normalize: bool = True
    """Scale vectors to unit length first, so that distance orders as cosine similarity does."""
    batch: int = Field(default=1024, ge=1)
    """Candidates brought up to date at once; changes speed, never the result."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; ``score`` is the distance to the nearest pair taken before it (of the others: after
        all), null for the first.

        Raises:
            ValueError: a completion has no finite vector, or the budget is larger than the pool.
        """
        candidates = pool.candidates()
        candidates = candidates.sort(seeded_hash(candidates["pair_id"], self.seed, "k_center"))
        vectors = pair_vectors(pool.embeddings[self.embeddings], candidates, self.compare, unit=self.normalize)
        picks, radius = farthest_first(vectors, self.most(pool), self.batch)
        rest = np.setdiff1d(np.arange(len(candidates)), picks)
        order = candidates[np.concatenate([picks, rest]).tolist()].select("pair_id")
        distance = np.full(len(order), np.nan)
        distance[: len(picks)] = radius
        taken = self.take(pool, order["pair_id"].to_list())
        order = order.with_columns(
            score=pl.Series(distance).replace({np.inf: np.nan}).fill_nan(None),
            selected=pl.Series(taken, dtype=pl.Boolean),
        )
        left_out = "over_budget: not taken"
        if self.budget.tokens is None and len(radius) > 1:  # else a pick too long to fit leaves neighbours uncovered
            left_out = f"covered: within {radius[-1]:.4f} of a selected pair"
        reason = (
            pl.when(~pl.col("selected"))
            .then(pl.lit(left_out))
            .when(pl.col("score").is_null())
            .then(pl.lit("selected: first, drawn"))
            .otherwise(pl.format("selected: distance {} to the nearest before", pl.col("score").round(4)))
        )
        return decide(pool, order.with_columns(reason=reason))
