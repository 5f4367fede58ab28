"""Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290) and its variants for noisy labels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pref_assets.settings import Settings

if TYPE_CHECKING:
    import torch

LossType = Literal["sigmoid", "robust", "ipo"]


@dataclass(frozen=True)
class PairTensors:
    """What an objective sees of n pairs; every tensor has shape (n,).

    Log-probabilities are sums over completion tokens in nats; ``p_chosen`` is what the votes say, or the selector;
    ``margin`` is by how much the implicit reward of the chosen side should be the larger one, 0 where nothing says so.
    """

    chosen: "torch.Tensor"
    rejected: "torch.Tensor"
    ref_chosen: "torch.Tensor"
    ref_rejected: "torch.Tensor"
    n_chosen: "torch.Tensor"
    n_rejected: "torch.Tensor"
    p_chosen: "torch.Tensor"
    margin: "torch.Tensor | float" = 0.0


@dataclass(frozen=True)
class PairLosses:
    """Per pair, shape (n,): the loss, and the implicit rewards beta * (log pi - log ref) without gradient."""

    loss: "torch.Tensor"
    reward_chosen: "torch.Tensor"
    reward_rejected: "torch.Tensor"


class DPO(Settings):
    """DPO with soft labels: the loss is the mean over both labels, weighted by how likely each is."""

    type: Literal["dpo"] = "dpo"
    loss_type: LossType = "sigmoid"
    """`sigmoid` (eq. 7 of DPO), `robust` (unbiased under a known flip rate, arXiv 2403.00409 eq. 13),
    `ipo` (arXiv 2310.12036 eq. 17, log-probabilities per token as TRL has it)."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference; in `ipo` its inverse is twice the target margin."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of flipped labels. With `sigmoid` this is conservative DPO; `ipo` does not use it."""
    soft_labels: bool = True
    """Whether `p_chosen` of a pair weighs the two labels; otherwise every label counts as certain."""

    @model_validator(mode="after")
    def _smoothing_has_a_use(self) -> "DPO":
        if self.loss_type == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing has no meaning with loss_type `ipo`; leave it at 0 or use `robust`")
        return self

    def losses(self, pairs: PairTensors) -> PairLosses:
        """Loss and implicit rewards of each pair.

        ``ipo`` has a target margin of its own, 1 / (2 beta), and looks at no other.
        """
        return dpo_losses(pairs, self.beta, self.loss_type, self.label_smoothing, self.soft_labels)


def dpo_losses(
    pairs: PairTensors,
    beta: "float | torch.Tensor",
    loss_type: LossType = "sigmoid",
    label_smoothing: float = 0.0,
    soft_labels: bool = True,
) -> PairLosses:
    """Loss of each pair, stable for any margin.

    With r = log pi - log ref, h = r_chosen - r_rejected, e = ``label_smoothing`` and S the logistic function:

    * ``sigmoid``: l(z) = -(1-e) log S(z) - e log S(-z), z = beta h - margin (arXiv:2402.10571 calls it an offset)
    * ``robust``: l(z) = [-(1-e) log S(z) + e log S(-z)] / (1 - 2e)
    * ``ipo``: l(h) = (h - 1/(2 beta))^2, with r divided by the number of completion tokens, without a margin

    The loss is p l(z) + (1-p) l(-z), p = ``p_chosen``, or l(z) without ``soft_labels``.

    Args:
        pairs: tensors of shape (n,).
        beta: one for all pairs, or shape (n,).
    """
    from torch.nn.functional import logsigmoid

    chosen = pairs.chosen - pairs.ref_chosen
    rejected = pairs.rejected - pairs.ref_rejected
    if loss_type == "ipo":
        h = chosen / pairs.n_chosen - rejected / pairs.n_rejected
        right, wrong = (h - 1 / (2 * beta)) ** 2, (h + 1 / (2 * beta)) ** 2
    else:
        e = label_smoothing
        z = beta * (chosen - rejected) - pairs.margin
        plain, flipped = -logsigmoid(z), -logsigmoid(-z)
        if loss_type == "robust":
            right, wrong = ((1 - e) * plain - e * flipped) / (1 - 2 * e), ((1 - e) * flipped - e * plain) / (1 - 2 * e)
        else:
            right, wrong = (1 - e) * plain + e * flipped, (1 - e) * flipped + e * plain
    loss = pairs.p_chosen * right + (1 - pairs.p_chosen) * wrong if soft_labels else right
    return PairLosses(loss, (beta * chosen).detach(), (beta * rejected).detach())
