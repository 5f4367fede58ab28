"""Regression first, then scaled Bradley-Terry from there, then a step beyond: the recipe of HelpSteer2-Preference."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.heads.base import Arrays, Floats, Head, Predictions, labels_of, prompt_of, side_vectors
from pref_assets.heads.bt import Bt, pair_losses, pair_terms
from pref_assets.heads.ratings import rated_completions
from pref_assets.heads.regression import ridge
from pref_assets.heads.scalar import LinearReward, fit_linear
from pref_assets.pool import Pool, seeded_uniform
from pref_assets.training.objectives.reward import extrapolated


class ScaledBt(Head):
    """A linear head fitted to ratings of one attribute, then to pairs by the scaled Bradley-Terry loss starting from
    there, then extrapolated by ExPO: w = w0 + (1 + alpha) (w1 - w0) (Wang et al., "HelpSteer2-Preference",
    arXiv:2410.01257, section 4).

    [choice] The penalty of the second fit pulls towards w0, as a convex problem forgets where it started. Of several
    ``alphas`` the one counts whose margins agree most often with the labels of held-out prompts, the smallest of equal
    ones; both fits are then made again on all prompts. Needs ratings and, for losses `scaled` and `margin`, a strength
    of every pair. O(n d^2 + steps n d).
    """

    type: Literal["scaled_bt"] = "scaled_bt"
    dimension: str = "helpfulness"
    """Dimension of the ratings that the first fit learns."""
    loss: Literal["scaled", "margin", "plain"] = "scaled"
    """Loss of the second fit, as in `bt`."""
    soft_labels: bool = True
    """Whether `p_chosen` weighs the two labels; otherwise every label but a tie's counts as certain."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |w0|^2 / 2 against half the summed squares of the first fit."""
    pull: float = Field(default=1.0, gt=0)
    """Weight of |w1 - w0|^2 / 2 against the summed loss of the second fit."""
    alphas: tuple[float, ...] = Field(default=(0.0, 0.25, 0.5, 1.0), min_length=1)
    """How far to go beyond w1; a single one is not searched for, and 0 is w1 itself."""
    held_out: float = Field(default=0.2, gt=0, le=0.5)
    """Share of the prompts that decide between several alphas."""

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "ExtrapolatedReward":
        """Raises ``ValueError`` where nobody rated the dimension, or a pair lacks the strength that the loss needs."""
        return ExtrapolatedReward(self.embeddings, *self._ends(pool, pairs), self._alpha(pool, pairs))

    def restore(self, arrays: Arrays) -> "ExtrapolatedReward":
        """The head that ``ExtrapolatedReward.arrays`` came from."""
        return ExtrapolatedReward(self.embeddings, arrays["start"], arrays["end"], float(arrays["alpha"][0]))

    def _ends(self, pool: Pool, pairs: pl.DataFrame) -> tuple[Floats, Floats]:
        """w0 and w1, each (d,)."""
        rated = rated_completions(pool, pairs, [self.dimension])
        features = pool.embeddings[self.embeddings].rows(rated.ids).astype(np.float64)
        start = ridge(features, rated.values[:, 0], self.l2)[:-1]
        second = Bt(embeddings=self.embeddings, loss=self.loss, soft_labels=self.soft_labels)
        losses = pair_losses(second, pair_terms(pool, pairs, second))
        return start, fit_linear(side_vectors(pool, self.embeddings, pairs), losses, self.pull, start)

    def _alpha(self, pool: Pool, pairs: pl.DataFrame) -> float:
        held = pl.Series(seeded_uniform(prompt_of(pairs), self.seed, "alpha") < self.held_out)
        teaching, watching = pairs.filter(~held), pairs.filter(held)
        if len(self.alphas) == 1 or teaching.is_empty() or watching.is_empty():
            return min(self.alphas)
        start, end = self._ends(pool, teaching)
        agreed = []
        for alpha in sorted(self.alphas):
            margin = LinearReward(self.embeddings, extrapolated(start, end, alpha)).predict(pool, watching).margin
            p = labels_of(watching)
            agreed.append((float(np.where(margin > 0, p, np.where(margin < 0, 1 - p, 0.5)).mean()), -alpha))
        return -max(agreed)[1]


@dataclass(frozen=True)
class ExtrapolatedReward:
    """r(x, y) = w . e(x, y), w extrapolated from ``start`` over ``end`` (d,) by ``alpha``."""

    embeddings: str
    start: Floats
    end: Floats
    alpha: float

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        return LinearReward(self.embeddings, extrapolated(self.start, self.end, self.alpha)).predict(pool, pairs)

    def arrays(self) -> Arrays:
        return {"start": self.start, "end": self.end, "alpha": np.array([self.alpha])}
