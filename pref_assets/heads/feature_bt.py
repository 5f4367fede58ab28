"""A reward whose reasons can be read: a sum of functions of a few named features."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.heads.base import Arrays, Floats, Head, Predictions, labels_of
from pref_assets.heads.minimise import Tensors, minimise, soft_logistic
from pref_assets.heads.text_features import DEFAULT, Feature, feature_sides
from pref_assets.pool import Pool
from pref_assets.settings import EmbeddingsName

if TYPE_CHECKING:
    import torch


class FeatureBt(Head):
    """Domain-knowledge reward model (arXiv:2402.15473): Bradley-Terry on named features of the answers, some of which
    may only count for, or only against.

    r(x, y) = sum_j g_j(f_j(x, y)). The paper maps seven features that a language model scores to a reward by a small
    network. [choice] Here each feature has a function of its own, so that its contribution can be named: linear, or
    piecewise linear between quantiles (``knots``), rising for sign `+` and falling for `-`. Features are ratings of the
    completions by a language model or a person (`dimension`), patterns, or general ones of the text; they are scaled to
    unit spread. Details: ``f_<feature>``, the contribution to the margin, which is their sum.

    Needs the texts, or ratings; no embeddings. A thousand pairs take a second, and are as good as many more with
    embeddings where the features say what matters.
    """

    type: Literal["feature_bt"] = "feature_bt"
    embeddings: EmbeddingsName | None = None  # type: ignore[assignment]
    """Not read."""
    features: tuple[Feature, ...] = Field(default=DEFAULT, min_length=1)
    """The features: `{name: ...}`, `{pattern: ..., label: ...}` or `{dimension: ...}`, each with its `sign`."""
    knots: int = Field(default=0, ge=0, le=100)
    """Bends of each function, at quantiles of the training answers; 0 is linear."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of the squared slopes / 2 against the summed loss."""
    max_steps: int = Field(default=2000, ge=1, le=100_000)
    """Most steps of L-BFGS."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.embeddings is not None:
            raise ValueError("feature_bt reads no embeddings; leave `embeddings` out")
        names = [each.key() for each in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"features of the same name: {twice}")
        return self

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "FittedFeatureBt":
        """Fits the functions; convex, so that no seed matters.

        Raises:
            ValueError: a completion has no text or rating, or there is no pair.
            FloatingPointError: L-BFGS did not come to rest in ``max_steps`` steps.
        """
        import torch

        if pairs.is_empty():
            raise ValueError("feature_bt: no pair to learn from")
        chosen, rejected = feature_sides(pool, pairs, self.features)
        both = np.concatenate([chosen, rejected])
        spread = np.where(both.std(axis=0) > 0, both.std(axis=0), 1.0)
        corners = np.quantile(both, np.linspace(0, 1, self.knots + 2), axis=0).T
        if self.knots == 0:
            corners = np.zeros((len(self.features), 0))
        basis = torch.from_numpy(ramps(chosen, corners, spread) - ramps(rejected, corners, spread))
        label = torch.from_numpy(labels_of(pairs))

        def loss(at: Tensors) -> "torch.Tensor":
            margins = (basis * at["slopes"]).sum((1, 2))
            return (soft_logistic(margins, label).sum() + 0.5 * self.l2 * (at["slopes"] ** 2).sum()) / len(label)

        signs = np.array([{"+": 1, "-": -1, "none": 0}[each.sign] for each in self.features])[:, None]
        shape = (len(self.features), self.knots + 1)
        low = np.broadcast_to(np.where(signs > 0, 0.0, -np.inf), shape)
        high = np.broadcast_to(np.where(signs < 0, 0.0, np.inf), shape)
        found = minimise(
            loss, {"slopes": np.zeros(shape)}, self.max_steps, at_least={"slopes": low}, at_most={"slopes": high}
        )
        if not found.converged:
            raise FloatingPointError(f"feature_bt did not converge in {self.max_steps} steps; raise l2")
        return FittedFeatureBt(self, found.arrays["slopes"], corners, spread)

    def restore(self, arrays: Arrays) -> "FittedFeatureBt":
        """The head that ``FittedFeatureBt.arrays`` came from."""
        slopes, spread = arrays["slopes"], arrays["spread"]
        return FittedFeatureBt(self, slopes, arrays.get("corners", np.zeros((len(slopes), 0))), spread)


@dataclass(frozen=True)
class FittedFeatureBt:
    """A fitted head: ``slopes`` (K, knots + 1), the ``corners`` (K, knots + 2) between which they hold, none for linear
    functions, and the ``spread`` (K,) of the features."""

    config: FeatureBt
    slopes: Floats
    corners: Floats
    spread: Floats

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        """Rewards, with the contribution of each feature. Raises ``ValueError`` where a completion has no text."""
        chosen, rejected = (self.contributions(side) for side in feature_sides(pool, pairs, self.config.features))
        apart = chosen - rejected
        named = {f"f_{each.key()}": apart[:, place] for place, each in enumerate(self.config.features)}
        return Predictions(apart.sum(axis=1), chosen.sum(axis=1), rejected.sum(axis=1), details=named)

    def contributions(self, features: Floats) -> Floats:
        """g_j(f_j) of answers with ``features`` (n, K), (n, K); they sum to the reward."""
        result: Floats = (ramps(features, self.corners, self.spread) * self.slopes).sum(axis=2)
        return result

    def arrays(self) -> Arrays:
        """``slopes``, ``spread`` and, where functions bend, ``corners``."""
        return {"slopes": self.slopes, "spread": self.spread} | ({"corners": self.corners} if self.corners.size else {})


def ramps(features: Floats, corners: Floats, spread: Floats) -> Floats:
    """The basis of the functions, (n, K, pieces): how far each feature goes through each piece, in spreads.

    Between two corners it rises from 0 to their distance; the first and the last piece go on beyond the outer corners.
    Functions with slopes of one sign in this basis are monotone. Without corners the only piece is the feature itself.
    """
    if corners.shape[1] == 0:
        return (features / spread)[:, :, None]
    inner = corners[:, 1:-1]
    low = np.concatenate([np.full((len(corners), 1), -np.inf), inner], axis=1)
    high = np.concatenate([inner, np.full((len(corners), 1), np.inf)], axis=1)
    origin = np.concatenate([inner[:, :1], inner], axis=1)
    result: Floats = (np.clip(features[:, :, None], low, high) - origin) / spread[:, None]
    return result
