"""Influence of every pair from that of a few: probes on a sample, and a model of them."""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.scoring.base import Scorer, pair_scores
from pref_assets.scoring.bradley_terry import ensemble_of, margin_vectors
from pref_assets.scoring.gradients.heads import Floats, only_train
from pref_assets.scoring.gradients.one_step import OneStepInfluence

_BLOCK = 8_192  # rows of features held at once


class InfluenceModel(Scorer):
    """The influence model of MATES (Yu et al., arXiv:2406.06046, section 3): probes a sample of the train pairs, fits
    a regressor to the z-scored results, and predicts all train pairs with it.

    ``score`` is the prediction, in standard deviations of the probes; higher lowers the loss on the `validation` pairs.
    Details: ``probe``, what was measured of a probed pair (same unit), and ``held_out_spearman``, the rank correlation
    of prediction and probe over the probes that the regressor did not see, the same number for every pair; null when
    all of them are equal. ``category`` is `probed` or `predicted`. [choice] A ridge regression on x = e(chosen) -
    e(rejected) and on margin · x takes the place of the paper's BERT: a probe is about (s(margin) - p) g_ref' x, and
    this is its expansion to second order. Use it where a probe is dear; `one_step_influence` probes every pair.
    O(probes · trusted · d + probes · d^2 + n · d).
    """

    type: Literal["influence_model"] = "influence_model"
    probe: OneStepInfluence
    """How a pair is probed."""
    probes: int = Field(default=1000, ge=10)
    """Train pairs that are probed, drawn by the seed; 80k in the paper."""
    held_out_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the probes that only test the regressor; 10 % in the paper."""
    l2: float = Field(default=0.1, gt=0)
    """Weight of |w|^2 against the mean squared error, features and target as z-scores."""
    seed: int = Field(default=0, ge=0)
    """Draws the probed pairs and those held out of the fit."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES``, null outside ``train``.

        Raises:
            ValueError: fewer train pairs than probes, too few probes to fit and to test on, no validation pair, or a
                completion without a finite vector.
        """
        train = pool.candidates()
        probed = self._probed(train)
        self._check_vectors(pool, train)
        measured = z_scores(self.probe.probe(pool)(train[probed]))
        held_out = round(self.held_out_share * self.probes)
        fitted, tested = probed[held_out:], probed[:held_out]
        center, scale = self._moments(pool, train[fitted])
        weights = self._fit((self._features(pool, train[fitted]) - center) / scale, measured[held_out:])
        predicted = np.concatenate(
            [(self._features(pool, part) - center) / scale @ weights for part in train.iter_slices(_BLOCK)]
        ) + float(measured[held_out:].mean())
        probe = np.full(len(train), np.nan)
        probe[probed] = measured
        frame = train.select("pair_id").with_columns(
            score=pl.Series(predicted),
            probe=pl.Series(probe),
            held_out_spearman=pl.lit(spearman(predicted[tested], measured[:held_out]), pl.Float64),
            known=pl.Series(np.where(np.isnan(probe), "predicted", "probed").tolist()),
        )
        every = only_train(pool.pairs, frame).with_columns(category=pl.coalesce("category", "known"))
        return pair_scores(every, details=["probe", "held_out_spearman"])

    def _probed(self, train: pl.DataFrame) -> np.ndarray:
        """Places of the probed pairs, those held out of the fit first."""
        if self.probes > len(train):
            raise ValueError(
                f"influence_model: {self.probes} probes, but only {len(train)} train pairs; lower `probes`, or use "
                "one_step_influence, which probes every pair"
            )
        held_out = round(self.held_out_share * self.probes)
        if held_out < 3 or self.probes - held_out < 2:
            raise ValueError(
                f"influence_model: of {self.probes} probes, {held_out} are held out; at least 3 must be, and 2 must "
                "remain to fit on"
            )
        return seeded_hash(train["pair_id"], self.seed, "probe").arg_sort().to_numpy()[: self.probes]

    def _check_vectors(self, pool: Pool, train: pl.DataFrame) -> None:
        """Before any probe, so that the error counts all pairs and not those that were looked at first."""
        config = ensemble_of(pool, self.probe.reward_model, self.type).config
        pool.embeddings[config.embeddings].rows([*train["chosen_id"], *train["rejected_id"]])

    def _features(self, pool: Pool, pairs: pl.DataFrame) -> Floats:
        """x and margin · x, (n, 2 d); the margin by the heads that never saw the pair's prompt."""
        ensemble = ensemble_of(pool, self.probe.reward_model, self.type)
        vectors = pool.embeddings[ensemble.config.embeddings]
        chosen, rejected = ensemble.sides(pairs, vectors)
        differences = margin_vectors(pairs, vectors)
        return np.concatenate([differences, (chosen - rejected).mean(axis=1)[:, None] * differences], axis=1)

    def _moments(self, pool: Pool, pairs: pl.DataFrame) -> tuple[Floats, Floats]:
        features = self._features(pool, pairs)
        spread = features.std(axis=0)
        return features.mean(axis=0), np.where(spread > 0, spread, 1.0)

    def _fit(self, features: Floats, target: Floats) -> Floats:
        """Ridge weights (2 d,) of centred features (n, 2 d)."""
        gram = features.T @ features / len(features)
        gram[np.diag_indices_from(gram)] += self.l2
        weights: Floats = np.linalg.solve(gram, features.T @ (target - target.mean()) / len(features))
        return weights


def z_scores(values: Floats) -> Floats:
    """Centred, in standard deviations; all 0 when the values are equal."""
    spread = values.std()
    result: Floats = (values - values.mean()) / (spread if spread > 0 else 1.0)
    return result


def spearman(first: Floats, second: Floats) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; ``None`` when either is constant."""
    ranks = [pl.Series(each).rank("average").to_numpy() for each in (first, second)]
    if min(each.std() for each in ranks) == 0:
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
