"""Preference strength of every pair, from an ensemble that did not see it."""

from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool, Vectors
from pref_assets.scoring.base import Scorer, pair_scores
from pref_assets.scoring.bradley_terry import Ensemble, ensemble_of
from pref_assets.scoring.calibration import probability
from pref_assets.settings import EnsembleName


class RewardEnsemble(Scorer):
    """Mean margin and spread over the members of a reward model (Wang et al., arXiv:2401.06080, section 2.1).

    ``category`` cuts the mean margin at quantiles of the train pairs: ``incorrect`` (the paper finds wrong labels
    there), ``ambiguous``, ``normal``, ``very_strong``.
    """

    type: Literal["reward_ensemble"] = "reward_ensemble"
    reward_model: EnsembleName
    """The ensemble to score with."""
    incorrect_below: float = Field(default=0.2, gt=0, lt=1)
    """Quantile under which a pair counts as incorrect."""
    ambiguous_below: float = Field(default=0.4, gt=0, lt=1)
    """Quantile under which a pair counts as ambiguous."""
    very_strong_above: float = Field(default=0.9, gt=0, lt=1)
    """Quantile from which a pair counts as very strong."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.incorrect_below < self.ambiguous_below < self.very_strong_above:
            raise ValueError("the quantiles must rise: incorrect_below < ambiguous_below < very_strong_above")
        return self

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of the pool's pairs, as ``strengths`` describes."""
        ensemble = ensemble_of(pool, self.reward_model, self.type)
        return self.strengths(pool.pairs, pool.embeddings[ensemble.config.embeddings], ensemble)

    def strengths(self, pairs: pl.DataFrame, vectors: Vectors, ensemble: Ensemble) -> pl.DataFrame:
        """``PAIR_SCORES`` of all pairs, ordered by id.

        Train pairs are scored by the heads of their own fold, which never saw their prompt; the others by the mean
        of all folds. ``score`` is the mean margin r(chosen) - r(rejected) over members, ``spread`` its population
        standard deviation, ``p_correct`` the calibrated probability that a fresh label would agree.

        Raises:
            ValueError: a completion has no finite vector, or vectors of another width than the ensemble's.
        """
        if pairs.is_empty():
            return PAIR_SCORES.empty()
        pairs = pairs.sort("pair_id")
        chosen, rejected = ensemble.sides(pairs, vectors)
        margins = chosen - rejected
        score = margins.mean(axis=1)
        scored = pairs.select("pair_id").with_columns(
            score=pl.Series(score),
            spread=pl.Series(margins.std(axis=1)),
            p_correct=pl.Series(probability(score, ensemble.temperature)),
            score_chosen=pl.Series(chosen.mean(axis=1)),
            score_rejected=pl.Series(rejected.mean(axis=1)),
            category=self._categories(score, (pairs["split"] == "train").to_numpy()),
        )
        return pair_scores(scored)

    def _categories(self, score: np.ndarray, train: np.ndarray) -> pl.Series:
        known = score[train] if train.any() else score
        cuts = np.quantile(known, [self.incorrect_below, self.ambiguous_below, self.very_strong_above])
        names = np.array(["incorrect", "ambiguous", "normal", "very_strong"])
        return pl.Series(names[np.searchsorted(cuts, score, side="right")].tolist(), dtype=pl.String)
