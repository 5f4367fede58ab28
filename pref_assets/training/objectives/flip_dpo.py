"""Labels that may be flipped, each with a probability of its own, known or learned beside the policy."""

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pref_assets.settings import ScoresName
from pref_assets.training.data import ScoreColumn
from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs

if TYPE_CHECKING:
    import torch


class FlipDPO(Objective):
    """DPO whose labels are flipped with probability e of their own, after noisy-label robust learning (NBPO, Yu & Qin,
    SIGIR 2020) and robust DPO (Chowdhury et al. 2024, arXiv 2403.00409, eq. 13).

    ``forward`` is the likelihood of the label as seen, -log[(1 - e) S(z) + e S(-z)]; ``backward`` the loss whose mean
    over flips is that of clean labels, [-(1 - e) log S(z) + e log S(-z)] / (1 - 2 e); ``smooth`` its conservative
    cousin, the mean over both labels. e comes from a score, or is learned as NBPO learns it: a linear head on the
    pair's mean state gives its log-odds, drawn towards those of ``prior``. NBPO holds parts of the gradient constant;
    here the likelihood itself is minimised [choice], and the head's gradient stops at the states, so that the policy
    does not bend to explain noise. A learned e needs no data beside the pairs. Needs a reference.
    """

    type: Literal["flip_dpo"] = "flip_dpo"
    flips: ScoresName | None = None
    """The scores that e comes from; left out, e is learned."""
    column: str = "p_correct"
    """Which number of them."""
    says: Literal["right", "flipped"] = "right"
    """Whether that number is the probability that the label is right, or that it is flipped."""
    correction: Literal["forward", "backward", "smooth"] = "forward"
    """How e enters the loss; a learned e enters `forward`."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference."""
    most: float = Field(default=0.45, gt=0, lt=0.5)
    """Largest e of `backward`, whose loss has no meaning from 1/2 on."""
    prior: float = Field(default=0.1, gt=0, lt=0.5)
    """e that learning starts from and is drawn towards."""
    l2: float = Field(default=1.0, ge=0)
    """Strength of that draw: weight of half the squared distance in log-odds."""

    @model_validator(mode="after")
    def _learned_by_likelihood(self) -> "FlipDPO":
        if self.flips is None and self.correction != "forward":
            raise ValueError(f"correction `{self.correction}` has no minimum in e: name `flips`, or use `forward`")
        return self

    def refused(self) -> dict[ColumnName, str]:
        """A margin is taken off the logit, as in DPO; votes say otherwise what e says."""
        others = super().refused()
        del others["margin"]
        others["soft label"] = "the flip probability says how doubtful the label is; set `soft_labels: false`"
        others["tie"] = "it has no label that could be flipped"
        return others

    def score_columns(self) -> dict[str, ScoreColumn]:
        """``doubt``, the number as the score gives it, where one does."""
        return {} if self.flips is None else {"doubt": ScoreColumn(self.flips, self.column, probability=True)}

    def head(self, hidden_size: int) -> "torch.nn.Module | None":
        """(n, hidden) -> log-odds of a flip, (n, 1), where they are learned; those of ``prior`` at first."""
        if self.flips is not None:
            return None
        from pref_assets.training.objectives.flip_head import FlipHead

        return FlipHead(hidden_size, self._prior_logit)

    @property
    def _prior_logit(self) -> float:
        return math.log(self.prior / (1 - self.prior))

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """The loss of each pair, (n,), with z = beta h - margin. ``values``: ``p_flip``, e."""
        chosen, rejected = self.beta * pairs.chosen.ratio, self.beta * pairs.rejected.ratio
        z = chosen - rejected - pairs.margin
        if self.flips is None:
            assert pairs.chosen.outputs is not None
            assert pairs.rejected.outputs is not None
            logit = (pairs.chosen.outputs + pairs.rejected.outputs)[:, 0] / 2
            loss = learned_flips(z, logit) + self.l2 / 2 * (logit - self._prior_logit) ** 2
            flip = logit.sigmoid()
        else:
            said = pairs.columns["doubt"]
            flip = 1 - said if self.says == "right" else said
            loss = known_flips(z, flip, self.correction, self.most)
        return PairLosses(loss, chosen.detach(), rejected.detach(), {"p_flip": flip.detach()})


def known_flips(
    z: "torch.Tensor", flip: "torch.Tensor", correction: Literal["forward", "backward", "smooth"], most: float
) -> "torch.Tensor":
    """The loss at logits z of labels flipped with probability ``flip`` in [0, 1], (n,), stable for any z."""
    import torch
    from torch.nn.functional import logsigmoid

    if correction == "forward":
        return -torch.logaddexp((1 - flip).log() + logsigmoid(z), flip.log() + logsigmoid(-z))
    sign = 1
    if correction == "backward":
        flip, sign = flip.clamp(max=most), -1
    mixed = -(1 - flip) * logsigmoid(z) - sign * flip * logsigmoid(-z)
    return mixed / (1 - 2 * flip) if correction == "backward" else mixed


def learned_flips(z: "torch.Tensor", logit: "torch.Tensor") -> "torch.Tensor":
    """-log[(1 - e) S(z) + e S(-z)] with e = S(logit), (n,), differentiable in both."""
    import torch
    from torch.nn.functional import logsigmoid

    return -torch.logaddexp(logsigmoid(-logit) + logsigmoid(z), logsigmoid(logit) + logsigmoid(-z))
