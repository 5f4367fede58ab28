"""Quantiles of what raters say of a completion, attribute by attribute, mixed by a gate that reads the prompt."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.heads.base import Arrays, CrossFit, Floats, Head, Predictions, labels_of, prompt_of, side_vectors
from pref_assets.heads.network import Forward, Mlp, Network, fit_network
from pref_assets.heads.ratings import ratings_of
from pref_assets.pool import Pool
from pref_assets.scoring.gradients.pinball import fit_quantiles
from pref_assets.scoring.gradients.quantile_reward import at_level, p_win
from pref_assets.training.objectives.reward import bradley_terry

LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))


class Quantile(Head):
    """QRM: linear quantiles of each attribute on fixed embeddings by the pinball loss, then a gate, a softmax over
    attributes fitted by Bradley-Terry on the expectations of pairs; the reward is the mean of the mixed quantiles
    (Dorka, "Quantile Regression for Distributional Reward Models in RLHF", arXiv:2409.10164).

    Every rating is a target of its own, so that raters who differ widen the distribution. Quantiles that cross are
    sorted (Chernozhukov et al., arXiv:0704.3649, section 2). Attributes are mixed level by level. [choice] The gate
    reads the mean of the pair's two vectors, each of which holds the prompt, where the paper reads the prompt's state;
    its loss has margins in units of their spread under equal weights. ``decorrelate`` takes out of every other
    attribute what is linear in one of them, as ArmoRM does with verbosity (arXiv:2406.12845, eq. 5, by Pearson's
    correlation). ``uncertainty`` is the root of the summed variances of the two sides' quantiles. Details: ``iqr_*``,
    ``cvar_*`` (the mean of the quantiles up to ``tail``), ``p_win`` (the probability that a draw of the chosen side
    beats one of the rejected, independent) and ``gate_<attribute>``. O(steps n d levels) an attribute and head: 10k
    ratings of width 384 take five seconds.
    """

    type: Literal["quantile"] = "quantile"
    attributes: tuple[str, ...] = Field(
        default=("helpfulness", "correctness", "coherence", "complexity", "verbosity"), min_length=1
    )
    """Dimensions of the ratings; the default are those of HelpSteer2."""
    levels: tuple[float, ...] = Field(default=LEVELS, min_length=1)
    """Quantile levels, rising in (0, 1); .05 to .95 in the paper."""
    tail: float = Field(default=0.1, gt=0, lt=1)
    """Largest level that counts as the lower tail."""
    decorrelate: str | None = None
    """An attribute whose linear influence is taken out of the others."""
    gate: Mlp | None = Mlp(hidden=(64,))
    """The gate's layers; attributes have equal weights where left out. One attribute needs no gate."""
    l2: float = Field(default=1e-3, gt=0)
    """Weight of |w|^2 / 2 against the mean loss, targets scaled to unit spread."""
    smoothing: float = Field(default=0.05, gt=0, le=1)
    """Width over which the kink of the loss is smoothed, in spreads of the targets."""
    cross_fit: CrossFit = CrossFit(members=1)
    """How many heads are fitted, each on which prompts; one a fold, as the quantiles say how sure they are."""

    @model_validator(mode="after")
    def _levels_rise(self) -> Self:
        if list(self.levels) != sorted(set(self.levels)) or not 0 < self.levels[0] <= self.levels[-1] < 1:
            raise ValueError("levels rise strictly and lie between 0 and 1")
        if self.levels[0] > self.tail:
            raise ValueError(f"no level lies in the tail up to {self.tail:g}; the lowest is {self.levels[0]:g}")
        if self.decorrelate is not None and self.decorrelate not in self.attributes:
            raise ValueError(f"decorrelate: {self.decorrelate!r} is none of the attributes")
        return self

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "QuantileRewards":
        """Raises ``ValueError`` where nobody rated one of the attributes."""
        ratings = ratings_of(pool, pairs, self.attributes)
        heads = np.stack([self._fit_one(pool, ratings.filter(dimension=name)) for name in self.attributes])
        slopes = np.zeros(len(self.attributes))
        if self.decorrelate is not None:
            ids = ratings["completion_id"].unique().sort().to_list()
            features = pool.embeddings[self.embeddings].rows(ids).astype(np.float64)
            slopes = _slopes(_quantiles(heads, features).mean(axis=2), self.attributes.index(self.decorrelate))
        ungated = QuantileRewards(self, heads, slopes, None)
        if self.gate is None or len(self.attributes) == 1:
            return ungated
        return QuantileRewards(self, heads, slopes, self._fit_gate(ungated, self.gate, pool, pairs))

    def _fit_one(self, pool: Pool, ratings: pl.DataFrame) -> Floats:
        """(levels, d + 1)."""
        features = pool.embeddings[self.embeddings].rows(ratings["completion_id"].to_list()).astype(np.float64)
        targets, weights = ratings["value"].to_numpy().astype(np.float64), np.ones((len(ratings), 1))
        return fit_quantiles(features, targets, weights, np.asarray(self.levels), self.l2, self.smoothing)[0]

    def _fit_gate(self, ungated: "QuantileRewards", settings: Mlp, pool: Pool, pairs: pl.DataFrame) -> Network:
        import torch

        chosen, rejected = side_vectors(pool, self.embeddings, pairs)
        means = [ungated.quantiles(side).mean(axis=2) for side in (chosen, rejected)]
        unit = (means[0] - means[1]).mean(axis=1).std() or 1.0
        margins = torch.from_numpy(((means[0] - means[1]) / unit).astype(np.float32))
        labels = torch.from_numpy(labels_of(pairs).astype(np.float32))

        def losses(forward: Forward, rows: torch.Tensor) -> torch.Tensor:
            mixed = (forward(rows).softmax(1) * margins[rows]).sum(1)
            return bradley_terry(mixed, torch.zeros_like(mixed), labels[rows])

        asked = 0.5 * (chosen + rejected)
        return fit_network(asked, len(self.attributes), losses, prompt_of(pairs), settings, self.seed)

    def restore(self, arrays: Arrays) -> "QuantileRewards":
        """The head that ``QuantileRewards.arrays`` came from."""
        gate = {name.removeprefix("gate."): each for name, each in arrays.items() if name.startswith("gate.")}
        return QuantileRewards(self, arrays["heads"], arrays["slopes"], Network.restore(gate) if gate else None)


@dataclass(frozen=True)
class QuantileRewards:
    """``heads`` (attributes, levels, d + 1), ``slopes`` (attributes,) on the attribute that is taken out, the gate."""

    config: Quantile
    heads: Floats
    slopes: Floats
    gate: Network | None

    def quantiles(self, features: Floats) -> Floats:
        """Quantiles (n, attributes, levels) of completions with vectors (n, d), rising along the last axis."""
        found = _quantiles(self.heads, features)
        if self.config.decorrelate is None:
            return found
        taken = found[:, self.config.attributes.index(self.config.decorrelate)].mean(axis=1)
        return found - (taken[:, None] * self.slopes)[:, :, None]

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        sides = side_vectors(pool, self.config.embeddings, pairs, self.heads.shape[2] - 1)
        weights = self._weights(0.5 * (sides[0] + sides[1]))
        chosen, rejected = (np.einsum("nk,nkt->nt", weights, self.quantiles(side)) for side in sides)
        levels, details = np.asarray(self.config.levels), {"p_win": p_win(chosen, rejected)}
        for side, found in (("chosen", chosen), ("rejected", rejected)):
            details[f"iqr_{side}"] = at_level(found, levels, 0.75) - at_level(found, levels, 0.25)
            details[f"cvar_{100 * self.config.tail:g}_{side}"] = found[:, levels <= self.config.tail].mean(axis=1)
        details |= {f"gate_{name}": weights[:, k] for k, name in enumerate(self.config.attributes)}
        good, poor = chosen.mean(axis=1), rejected.mean(axis=1)
        spread = np.sqrt(chosen.var(axis=1) + rejected.var(axis=1))
        return Predictions(good - poor, good, poor, spread, details)

    def _weights(self, features: Floats) -> Floats:
        """Weight of each attribute, (n, K), rows sum to 1."""
        if self.gate is None:
            return np.full((len(features), len(self.heads)), 1 / len(self.heads))
        outputs = self.gate(features)
        raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def arrays(self) -> Arrays:
        gate = {} if self.gate is None else {f"gate.{name}": each for name, each in self.gate.arrays().items()}
        return {"heads": self.heads, "slopes": self.slopes, **gate}


def _quantiles(heads: Floats, features: Floats) -> Floats:
    found = np.einsum("nd,ktd->nkt", features, heads[:, :, :-1], optimize=True) + heads[:, :, -1]
    return np.sort(found, axis=2)


def _slopes(means: Floats, taken: int) -> Floats:
    """Slope of each attribute (m, K) on the one ``taken``, whose own is 0."""
    centred = means - means.mean(axis=0)
    variance = float(np.square(centred[:, taken]).sum())
    slopes = centred.T @ centred[:, taken] / variance if variance > 0 else np.zeros(means.shape[1])
    slopes[taken] = 0
    return slopes
