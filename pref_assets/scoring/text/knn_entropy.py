"""How much room a pair has among the others: the k-nearest-neighbour term of an entropy."""

from typing import Literal

import polars as pl

from pref_assets.features.neighbours import NearestNeighbours
from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring.base import Scorer, pair_scores


class KnnEntropy(NearestNeighbours, Scorer):
    """Logarithm of the distance to the k-th nearest train pair: the term of the Kozachenko-Leonenko entropy that FiFA
    adds up as diversity (Yang et al., "Automated Filtering of Human Feedback Data for Aligning Text-to-Image Diffusion
    Models", arXiv:2410.10166, section 4).

    The paper takes prompts' embeddings; here embeddings are of completions, which hold their prompt unless they are
    configured otherwise [choice]. `k` and the guard against equal vectors are choices. ``score`` is the term, high
    where a pair stands alone; the detail ``distance`` is the distance itself. Held-out pairs are measured against the
    train pairs. O(n · min(n, among) · d).
    """

    type: Literal["knn_entropy"] = "knn_entropy"

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of the pool's pairs; raises as ``distances`` does."""
        if pool.pairs.is_empty():
            return PAIR_SCORES.empty()
        pairs = pool.pairs.sort("pair_id")
        found = self.distances(pairs, pool.embeddings[self.embeddings])
        frame = pairs.select("pair_id", score=pl.Series(self.terms(found)), distance=pl.Series(found))
        return pair_scores(frame, details=["distance"])
