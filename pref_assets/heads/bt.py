"""Bradley-Terry heads: linear or a small network, with every loss of the family."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.heads.base import Arrays, Fitted, Floats, Head, labels_of, side_vectors
from pref_assets.heads.network import Mlp
from pref_assets.heads.scalar import LinearReward, NetworkReward, PairLosses, fit_linear, fit_pair_network, restored
from pref_assets.pool import Pool
from pref_assets.settings import ScoresName
from pref_assets.training.objectives.reward import bradley_terry, rao_kupper

if TYPE_CHECKING:
    import torch

Loss = Literal["plain", "margin", "scaled", "adaptive_margin", "rao_kupper"]


class Bt(Head):
    """P(chosen > rejected) = s(r(chosen) - r(rejected)) (Bradley & Terry 1952), r linear in the embedding or a network.

    The losses are plain, with margins and scaled (HelpSteer2-Preference, arXiv:2410.01257; margins also Llama 2,
    arXiv:2307.09288, eq. 2), with soft labels and adaptive margins (Wang et al., arXiv:2401.06080, section 2.4), and
    with ties (Rao & Kupper 1967). [choice] Scaled weighs each pair's own loss; the authors' code multiplies the mean
    of a batch. Linear and with loss `plain` it is `bradley_terry` without its bootstrap. The mean reward of a network
    is 0 over what it learned from. O(steps n d): 5k pairs of width 384 take three seconds a linear head, five
    a network.
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
    """Weight of |w|^2 / 2 against the summed loss, of a linear head."""
    network: Mlp | None = None
    """Layers of a network; a linear head where left out."""

    @model_validator(mode="after")
    def _margins_are_named(self) -> Self:
        if (self.loss == "adaptive_margin") != (self.margins is not None):
            raise ValueError("`margins` names the scores of loss `adaptive_margin`, and of no other")
        return self

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> Fitted:
        """Raises ``ValueError`` where the loss needs a strength or margin that a pair has not."""
        terms = pair_terms(pool, pairs, self)
        losses = pair_losses(self, terms)
        sides = side_vectors(pool, self.embeddings, pairs)
        if self.network is None:
            return LinearReward(self.embeddings, fit_linear(sides, losses, self.l2))
        return NetworkReward(self.embeddings, fit_pair_network(sides, losses, pairs, self.network, self.seed))

    def restore(self, arrays: Arrays) -> Fitted:
        """The head that ``Fitted.arrays`` came from."""
        return restored(self.embeddings, arrays)


@dataclass(frozen=True)
class PairTerms:
    """What the losses of n pairs need beside the two rewards: label, margin and weight, (n,) each."""

    p: Floats
    margin: Floats
    scale: Floats


def pair_terms(pool: Pool, pairs: pl.DataFrame, settings: Bt) -> PairTerms:
    """The terms of each pair. Raises ``ValueError`` where a strength or margin that the loss needs is not known."""
    p = labels_of(pairs)
    if not settings.soft_labels:
        p = np.where(p == 0.5, 0.5, (p > 0.5).astype(np.float64))
    # Smoothing a tie leaves it a tie, exactly, which `rao_kupper` goes by.
    p = np.where(p == 0.5, 0.5, p + settings.smoothing * (1 - 2 * p))
    zeros, ones = np.zeros(len(pairs)), np.ones(len(pairs))
    if settings.loss == "margin":
        return PairTerms(p, _known(pairs, pairs["strength"], "strength"), ones)
    if settings.loss == "scaled":
        scale = _known(pairs, pairs["strength"], "strength")
        below = pairs["pair_id"].filter(pl.Series(scale < 0))
        if len(below):
            raise ValueError(f"{len(below)} pairs have a negative strength, e.g. {below.head(3).to_list()}")
        return PairTerms(p, zeros, scale)
    if settings.margins is not None:
        found = pairs.select("pair_id").join(
            pool.value(settings.margins, "score"), on="pair_id", how="left", maintain_order="left"
        )
        return PairTerms(p, _known(pairs, found["value"], f"score in scores {settings.margins!r}"), ones)
    return PairTerms(p, zeros, ones)


def pair_losses(settings: Bt, terms: PairTerms) -> PairLosses:
    """The losses of pairs by their rewards, for ``fit_linear`` and ``fit_pair_network``."""

    def losses(chosen: "torch.Tensor", rejected: "torch.Tensor", rows: "torch.Tensor") -> "torch.Tensor":
        import torch

        p, margin, scale = (
            torch.from_numpy(each)[rows].to(chosen.dtype) for each in (terms.p, terms.margin, terms.scale)
        )
        if settings.loss == "rao_kupper":
            return rao_kupper(chosen, rejected, p, settings.tie_threshold) + settings.center * (chosen + rejected) ** 2
        return bradley_terry(chosen, rejected, p, margin=margin, scale=scale, center=settings.center)

    return losses


def _known(pairs: pl.DataFrame, values: pl.Series, what: str) -> Floats:
    unknown = pairs["pair_id"].filter(~values.is_finite().fill_null(False))
    if len(unknown):
        raise ValueError(
            f"{len(unknown)} of {len(pairs)} pairs have no {what}, e.g. {unknown.head(3).to_list()}; use loss `plain`, "
            "or leave these pairs out"
        )
    result: Floats = values.to_numpy().astype(np.float64)
    return result
