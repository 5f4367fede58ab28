"""Represent the data: every pair should have something like it among those taken."""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.coverage import cover, cover_dense
from pref_assets.selection.neighbours import nearest_in_cells
from pref_assets.selection.pair_vectors import Compare, pair_vectors
from pref_assets.settings import EmbeddingsName


class FacilityLocation(Budgeted):
    """Greedily maximises f(S) = sum over pairs i of max over j in S of sim(i, j), with sim the cosine or 0 if that is
    negative: facility location (Nemhauser, Wolsey & Fisher 1978, whose greedy is within 1 - 1/e of the best; for data
    selection Wei, Iyer & Bilmes, ICML 2015).

    It covers the mean pair where `k_center` covers the worst, so it is safer on noisy data. [choice] Up to `dense`
    candidates every similarity counts. Beyond that a pair counts only its `neighbours` nearest, looked up in the
    `probes` nearest of about sqrt(n) cells; the greedy and its bound are then of that sparse objective, in which what
    is nobody's neighbour covers nothing. Ties go to the seed's order. Gains
    are kept up to date rather than evaluated lazily, with the same picks (`coverage`). Time O(n² · d) dense, else about
    O(n^1.5 · probes · d); memory O(n²) up to `dense`, else O(n · neighbours).
    """

    type: Literal["facility_location"] = "facility_location"
    embeddings: EmbeddingsName
    """Embeddings in which pairs are compared."""
    compare: Compare = "chosen"
    """Which completions: the chosen one, or both side by side."""
    dense: int = Field(default=5000, ge=1, le=20_000)
    """Most candidates for which all similarities are kept; 5000 are 100 MB."""
    neighbours: int = Field(default=64, ge=1, le=1000)
    """Most similar pairs that count for a pair beyond that."""
    probes: int = Field(default=4, ge=1)
    """Cells in which neighbours are looked up; as many as there are cells makes it exact."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; ``score`` is what the pair added to f when it was taken, null if it was not.

        Raises:
            ValueError: a completion has no finite vector, or the budget is larger than the pool.
        """
        candidates = pool.candidates()
        candidates = candidates.sort(seeded_hash(candidates["pair_id"], self.seed, "facility_location"))
        vectors = pair_vectors(pool.embeddings[self.embeddings], candidates, self.compare, unit=True)
        most = self.most(pool)
        if len(vectors) <= self.dense:
            picks, gains = cover_dense(np.maximum(vectors @ vectors.T, 0), most)
        else:
            rows, similar = nearest_in_cells(vectors, self.neighbours, self.probes, self.seed)
            picks, gains = cover(rows, similar, most)
        rest = np.setdiff1d(np.arange(len(candidates)), picks)
        order = candidates[np.concatenate([picks, rest]).tolist()].select("pair_id")
        taken = self.take(pool, order["pair_id"].to_list())
        added = np.concatenate([gains, np.full(len(rest), np.nan)])
        order = order.with_columns(score=pl.Series(added).fill_nan(None), selected=pl.Series(taken, dtype=pl.Boolean))
        reason = (
            pl.when("selected")
            .then(pl.format("selected: adds {} to the coverage", pl.col("score").round(4)))
            .otherwise(pl.lit("over_budget: others add more"))
        )
        return decide(pool, order.with_columns(reason=reason))
