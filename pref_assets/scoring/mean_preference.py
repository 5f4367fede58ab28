"""How much an answer is preferred to the others of its prompt, from any score of pairs."""

from typing import Literal

import polars as pl

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring.base import RankBy, Scorer, pair_scores, ranked_by, sides
from pref_assets.scoring.combined import finite
from pref_assets.settings import ScoresName


class MeanPreference(Scorer):
    """Mean margin of an answer over the K answers that it was compared with, itself included: s_i = sum_k s(i > k) / K,
    what GPO trains on (Zhang et al., arXiv:2410.02197).

    Unlike a reward it is defined where preferences go in circles, so it takes the margins of `gpm` as well as any other
    score of pairs. ``score_chosen`` and ``score_rejected`` are s of the sides, ``score`` their difference unless
    ``rank_by`` says otherwise. Details: ``compared_chosen`` and ``compared_rejected``, K of the sides. Needs a score
    entry. O(pairs · log pairs).
    """

    type: Literal["mean_preference"] = "mean_preference"
    scores: ScoresName
    """The entry whose margins are averaged."""
    column: str = "score"
    """Which number the margin is: a column of the scores, or one of their named details."""
    rank_by: RankBy = "margin"
    """What `score` is: s(chosen) - s(rejected), either alone, or their mean."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of the pool's pairs. Raises ``ValueError`` where a pair has no finite margin."""
        if pool.pairs.is_empty():
            return PAIR_SCORES.empty()
        margins = finite(pool, pool.pairs, self.scores, self.column)
        wins = margins.select(id="chosen_id", value="value")
        losses = margins.select(id="rejected_id", value=-pl.col("value"))
        # Sums depend on the order of their terms in the last digit.
        each = pl.concat([wins, losses]).sort("id", "value")
        mean = each.group_by("id").agg(s=pl.col("value").sum() / (pl.len() + 1), compared=pl.len() + 1.0)
        chosen, rejected = pl.col("s_chosen"), pl.col("s_rejected")
        frame = sides(pool.pairs, mean, ["s", "compared"]).with_columns(
            score=ranked_by(self.rank_by, chosen, rejected), score_chosen=chosen, score_rejected=rejected
        )
        return pair_scores(frame, details=["compared_chosen", "compared_rejected"])
