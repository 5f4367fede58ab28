"""Margin-aware alignment without a reference."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pref_assets.training.objectives.kernel import Objective, PairLosses, Pairs

if TYPE_CHECKING:
    import torch


class MaPO(Objective):
    """Margin-aware Preference Optimization (Hong et al. 2024, arXiv 2406.06424): l_w - beta log S(T (psi(l_w) -
    psi(l_l))), psi(l) = a l / (e^(a l) - 1), l what a side costs the model; no reference.

    An adaptation: the paper's l is the error of a denoiser over T = 1000 steps; here it is the negative log-likelihood
    per token, and T an ordinary temperature [choice: 10]. psi falls from 1 to 0, slope -a / 2 at 0. The likelihood of
    the chosen side is part of the loss, so it trains a model that was never fine-tuned.
    """

    type: Literal["mapo"] = "mapo"
    reference_free: ClassVar[bool] = True
    beta: float = Field(default=0.1, ge=0, le=100)
    """Weight of the margin against the likelihood; 0 is fine-tuning on the chosen sides."""
    a: float = Field(default=0.5, gt=0, le=100)
    """How fast psi falls."""
    temperature: float = Field(default=10.0, gt=0, le=10_000)
    """T, log-odds per unit of psi."""

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """The loss of each pair, (n,), from log-probabilities per token; rewards are T psi."""
        chosen, rejected = -pairs.chosen.mean_logp, -pairs.rejected.mean_logp
        loss = mapo_loss(chosen, rejected, self.beta, self.a, self.temperature)
        better, worse = (self.temperature * psi(each.detach(), self.a) for each in (chosen, rejected))
        return PairLosses(loss, better, worse)


def mapo_loss(
    chosen: "torch.Tensor", rejected: "torch.Tensor", beta: float, a: float, temperature: float
) -> "torch.Tensor":
    """l_w - beta log S(T (psi(l_w) - psi(l_l))) of what the sides cost, both >= 0, (n,)."""
    from torch.nn.functional import logsigmoid

    return chosen - beta * logsigmoid(temperature * (psi(chosen, a) - psi(rejected, a)))


def psi(cost: "torch.Tensor", a: float) -> "torch.Tensor":
    """a l / (e^(a l) - 1) of costs l >= 0, with its limit 1 at 0; gradients are finite everywhere."""
    import torch

    x = a * cost
    small = x < 1e-3
    safe = torch.where(small, torch.ones_like(x), x)
    # e^-x never overflows, where e^x would.
    exact = safe * (-safe).exp() / -torch.expm1(-safe)
    return torch.where(small, 1 - x / 2 + x**2 / 12, exact)
