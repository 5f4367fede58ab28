"""Bradley-Terry heads: linear or a small network, with every loss of the family."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.heads.base import Arrays, Fitted, Floats, Head, Predictions, labels_of, side_vectors
from pref_assets.pool import Pool
from pref_assets.settings import ScoresName
from pref_assets.training.objectives.reward import bradley_terry, rao_kupper

if TYPE_CHECKING:
    import torch

Loss = Literal["plain", "margin", "scaled", "adaptive_margin", "rao_kupper"]


@dataclass(frozen=True)
class PairTerms:
    """What the losses of n pairs need beside the two rewards: label, margin and weight, (n,) each."""

    p: Floats
    margin: Floats
    scale: Floats


def pair_terms(
    pool: Pool, pairs: pl.DataFrame, loss: Loss, soft_labels: bool, smoothing: float, margins: str | None
) -> PairTerms:
    """The terms of each pair. Raises ``ValueError`` where a strength or margin that the loss needs is not known."""
    p = labels_of(pairs)
    if not soft_labels:
        p = np.where(p == 0.5, 0.5, (p > 0.5).astype(np.float64))
    p = (1 - smoothing) * p + smoothing * (1 - p)
    zeros, ones = np.zeros(len(pairs)), np.ones(len(pairs))
    if loss == "margin":
        return PairTerms(p, _known(pairs, pairs["strength"], "strength"), ones)
    if loss == "scaled":
        scale = _known(pairs, pairs["strength"], "strength")
        if (scale < 0).any():
            raise ValueError(
                f"loss `scaled`: {int((scale < 0).sum())} pairs have a negative strength, "
                f"e.g. {pairs['pair_id'].filter(pl.Series(scale < 0)).head(3).to_list()}"
            )
        return PairTerms(p, zeros, scale)
    if loss == "adaptive_margin":
        assert margins is not None
        found = pairs.select("pair_id").join(
            pool.value(margins, "score"), on="pair_id", how="left", maintain_order="left"
        )
        return PairTerms(p, _known(pairs, found["value"], f"score in scores {margins!r}"), ones)
    return PairTerms(p, zeros, ones)


def _known(pairs: pl.DataFrame, values: pl.Series, what: str) -> Floats:
    unknown = pairs["pair_id"].filter(values.is_null() | ~values.is_finite().fill_null(False))
    if len(unknown):
        raise ValueError(
            f"{len(unknown)} of {len(pairs)} pairs have no {what}, e.g. {unknown.head(3).to_list()}; use loss `plain`, "
            "or leave these pairs out"
        )
    result: Floats = values.to_numpy().astype(np.float64)
    return result


class Bt(Head):
    """P(chosen > rejected) = s(r(chosen) - r(rejected)) (Bradley & Terry 1952), r linear.

    Losses of HelpSteer2-Preference (arXiv:2410.01257), of Llama 2 and of Wang et al. (arXiv:2401.06080).
    """

    type: Literal["bt"] = "bt"
    loss: Loss = "plain"
    """`plain`; `margin`: r must differ by the pair's strength; `scaled`: strength weighs the pair's loss;
    `adaptive_margin`: by the score of `margins`; `rao_kupper`: ties have a probability of their own."""
    soft_labels: bool = True
    """Whether `p_chosen` weighs the two labels; otherwise every label but a tie's counts as certain."""
    smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Chance that a label is taken for wrong: p becomes (1 - a) p + a (1 - p); 0.1 in Wang et al."""
    margins: ScoresName | None = None
    """Scores whose `score` is the margin of `adaptive_margin`, e.g. the mean margin of an ensemble."""
    tie_threshold: float = Field(default=0.5, gt=0, le=10)
    """Margin in log-odds below which raters often see no difference, for `rao_kupper`."""
    center: float = Field(default=0.0, ge=0, le=10)
    """Weight of (r(chosen) + r(rejected))^2."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |w|^2 / 2 against the summed loss."""

    @model_validator(mode="after")
    def _margins_are_named(self) -> Self:
        if (self.loss == "adaptive_margin") != (self.margins is not None):
            raise ValueError("`margins` names the scores of loss `adaptive_margin`, and of no other")
        return self

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> Fitted:
        from pref_assets.heads.torch_fit import minimise

        terms = pair_terms(pool, pairs, self.loss, self.soft_labels, self.smoothing, self.margins)
        chosen, rejected = side_vectors(pool, self.embeddings, pairs)
        weights = minimise(
            lambda w, c, r: self._losses(c @ w, r @ w, terms), chosen.shape[1], (chosen, rejected), self.l2
        )
        return LinearReward(self.embeddings, weights)

    def _losses(self, chosen: "torch.Tensor", rejected: "torch.Tensor", terms: PairTerms) -> "torch.Tensor":
        import torch

        p, margin, scale = (torch.from_numpy(each).to(chosen) for each in (terms.p, terms.margin, terms.scale))
        if self.loss == "rao_kupper":
            return rao_kupper(chosen, rejected, p, self.tie_threshold) + self.center * (chosen + rejected) ** 2
        return bradley_terry(chosen, rejected, p, margin=margin, scale=scale, center=self.center)

    def restore(self, arrays: Arrays) -> Fitted:
        return LinearReward(self.embeddings, arrays["weights"])


@dataclass(frozen=True)
class LinearReward:
    """r(x, y) = w . e(x, y); ``weights`` (d,) float64."""

    embeddings: str
    weights: Floats

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        chosen, rejected = (
            side @ self.weights for side in side_vectors(pool, self.embeddings, pairs, len(self.weights))
        )
        return Predictions(chosen - rejected, chosen, rejected)

    def arrays(self) -> Arrays:
        return {"weights": self.weights}
