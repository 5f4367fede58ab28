"""How hard a pair is for a reward head that did not see it: error, gradient and entropy."""

import math
from typing import Literal

import numpy as np
import polars as pl

from pref_assets.pool import Pool
from pref_assets.scoring.base import Scorer, pair_scores
from pref_assets.scoring.bradley_terry import ensemble_of, margin_vectors
from pref_assets.scoring.gradients.heads import Floats, labels, residuals
from pref_assets.settings import EnsembleName

_BLOCK = 65_536  # rows of float64 vectors held at once


class El2n(Scorer):
    """The L2 norm of the error of the predicted label distribution (Paul et al., "Deep Learning on a Data Diet",
    arXiv:2107.07075, definition 2.2).

    For a pair it is sqrt(2) |s(margin) - p_chosen|, between 0 and sqrt(2): high for pairs that are hard or wrongly
    labelled. The mean over the members of a reward model, ``spread`` their standard deviation; a train pair is judged
    by the heads that never saw its prompt, so that a wrong label cannot vouch for itself. Members take the place of the
    paper's ten networks early in training; a convex head has no early phase. O(n · d · members).
    """

    type: Literal["el2n"] = "el2n"
    reward_model: EnsembleName
    """The ensemble whose error it is."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES``; no number is null.

        Raises:
            ValueError: a completion has no finite vector, or vectors of another width than the ensemble's.
        """
        pairs = pool.pairs.sort("pair_id")
        return _over_members(pairs, math.sqrt(2) * _errors(pool, self, pairs))


class Grand(Scorer):
    """The expected norm of the loss gradient (Paul et al., arXiv:2107.07075, definition 2.1).

    Of a linear Bradley-Terry head it is |s(margin) - p_chosen| · |e(chosen) - e(rejected)|: exact, no backward pass.
    Mean and ``spread`` over the members of a reward model, out of fold as in `el2n`. O(n · d · members).
    """

    type: Literal["grand"] = "grand"
    reward_model: EnsembleName
    """The ensemble whose gradient it is."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES``; no number is null.

        Raises:
            ValueError: a completion has no finite vector, or vectors of another width than the ensemble's.
        """
        pairs = pool.pairs.sort("pair_id")
        vectors = pool.embeddings[ensemble_of(pool, self.reward_model, self.type).config.embeddings]
        parts = [margin_vectors(part, vectors) for part in pairs.iter_slices(_BLOCK)]
        norms = np.concatenate([np.linalg.norm(part, axis=1) for part in parts]) if parts else np.zeros(0)
        return _over_members(pairs, norms[:, None] * _errors(pool, self, pairs))


class HeadEntropy(Scorer):
    """Entropy, in nats, of the label distribution that a reward model predicts: log 2 where it does not know.

    ``score`` is the entropy of the mean probability over members. The details part it (Depeweg et al.,
    arXiv:1710.07283, equation 1): ``expected_entropy`` is the mean of the members' own (noise that more data will not
    remove), ``mutual_information`` the rest (members disagree: more data would tell). Needs no label of the pair
    itself; out of fold as in `el2n`. O(n · d · members).
    """

    type: Literal["head_entropy"] = "head_entropy"
    reward_model: EnsembleName
    """The ensemble that predicts."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES``; no number is null.

        Raises:
            ValueError: a completion has no finite vector, or vectors of another width than the ensemble's.
        """
        pairs = pool.pairs.sort("pair_id")
        margins = _margins(pool, self, pairs)
        p_chosen = residuals(margins, np.zeros(1))
        total = entropy(p_chosen.mean(axis=1))
        expected = entropy(p_chosen).mean(axis=1)
        frame = pairs.select("pair_id").with_columns(
            score=pl.Series(total),
            expected_entropy=pl.Series(expected),
            mutual_information=pl.Series(np.maximum(total - expected, 0)),
        )
        return pair_scores(frame, details=["expected_entropy", "mutual_information"])


def entropy(p: Floats) -> Floats:
    """Entropy in nats of a coin that shows heads with probability ``p``, elementwise; 0 at 0 and 1."""
    tiny = np.finfo(np.float64).tiny
    result: Floats = -(p * np.log(np.maximum(p, tiny)) + (1 - p) * np.log(np.maximum(1 - p, tiny)))
    return result


def _margins(pool: Pool, scorer: El2n | Grand | HeadEntropy, pairs: pl.DataFrame) -> Floats:
    ensemble = ensemble_of(pool, scorer.reward_model, scorer.type)
    chosen, rejected = ensemble.sides(pairs, pool.embeddings[ensemble.config.embeddings])
    return chosen - rejected


def _errors(pool: Pool, scorer: El2n | Grand, pairs: pl.DataFrame) -> Floats:
    """|s(margin) - p_chosen| of each member, (n, members)."""
    return np.abs(residuals(_margins(pool, scorer, pairs), labels(pairs)[:, None]))


def _over_members(pairs: pl.DataFrame, values: Floats) -> pl.DataFrame:
    mean, spread = pl.Series(values.mean(axis=1)), pl.Series(values.std(axis=1))
    return pair_scores(pairs.select("pair_id").with_columns(score=mean, spread=spread))
