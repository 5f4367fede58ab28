"""What a reward head says of every pair, out of fold."""

from typing import Literal

import polars as pl

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring.base import Scorer, pair_scores
from pref_assets.scoring.bradley_terry import Ensemble
from pref_assets.settings import HeadName


class RewardHead(Scorer):
    """The margin of a cross-fitted reward head, any but `bradley_terry`, which `reward_ensemble` scores with.

    Train pairs are scored by heads that never saw their prompt, others by all. ``score`` is the margin,
    ``score_chosen`` and ``score_rejected`` the rewards of the sides (null where the head has no scalar reward),
    ``spread`` the standard deviation of the margin, ``p_correct`` the calibrated probability that a fresh label would
    agree; the details are the head's own.
    """

    type: Literal["reward_head"] = "reward_head"
    reward_model: HeadName
    """The head to score with."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of every pair.

        Raises:
            ValueError: the reward model is a `bradley_terry` ensemble, a completion has no finite vector, or vectors
                are of another width than the head's.
        """
        fitted = pool.reward_models[self.reward_model]
        if isinstance(fitted, Ensemble):
            raise ValueError(
                f"reward_head: reward model {self.reward_model!r} is a `bradley_terry` ensemble; score it with "
                "`reward_ensemble`"
            )
        if pool.pairs.is_empty():
            return PAIR_SCORES.empty()
        pairs = pool.pairs.sort("pair_id")
        said = fitted.predict(pool, pairs)
        known = {
            "score": said.margin,
            "p_correct": fitted.p_correct(said.margin),
            "spread": said.uncertainty,
            "score_chosen": said.score_chosen,
            "score_rejected": said.score_rejected,
            **said.details,
        }
        columns = {name: pl.Series(each) for name, each in known.items() if each is not None}
        return pair_scores(pairs.select("pair_id").with_columns(**columns), details=list(said.details))
