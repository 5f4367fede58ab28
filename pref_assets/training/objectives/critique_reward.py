"""The losses of a reward model that criticises before it scores, as pure functions: MM-RLHF (Zhang et al.,
arXiv:2502.10391, section 4.1). Tensors are of one dtype and device."""

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import torch


class ScoreTerms(NamedTuple):
    """What the rewards of pairs lose, (n,) each: to be added.

    Attributes:
        bradley_terry: of pairs with a better side.
        tie: of tied pairs.
        center: of all pairs.
    """

    bradley_terry: "torch.Tensor"
    tie: "torch.Tensor"
    center: "torch.Tensor"


def score_terms(
    chosen: "torch.Tensor",
    rejected: "torch.Tensor",
    tied: "torch.Tensor",
    *,
    tied_share: float,
    margin: "torch.Tensor | float" = 0.0,
    tie_weight: float = 1.0,
    center_coefficient: float = 0.0,
) -> ScoreTerms:
    """-log s(chosen - rejected - margin) of each pair; of a tied one tie_weight (chosen - rejected)² in its place; and
    center_coefficient (chosen + rejected)² of every pair.

    The released code adds the mean of the first over pairs that are not tied, of the second over tied ones, and of the
    third over all. So that the mean of these terms over a batch is that sum, the first two are divided by the share of
    their pairs in it.

    Args:
        chosen: rewards of the chosen sides, (n,).
        rejected: rewards of the other sides, (n,).
        tied: whether neither side is better, (n,) bool.
        tied_share: share of tied pairs in the batch, of which the n may be a part.
        margin: by how much the chosen side should lead, (n,).
        tie_weight: weight of the tied pairs' term.
        center_coefficient: weight of the term that keeps rewards around zero (arXiv:2312.09244).
    """
    import torch
    from torch.nn.functional import logsigmoid

    zero = torch.zeros_like(chosen)
    lost = -logsigmoid(chosen - rejected - margin)
    apart = tie_weight * (chosen - rejected) ** 2
    return ScoreTerms(
        torch.where(tied, zero, lost / (1 - tied_share)) if tied_share < 1 else zero,
        torch.where(tied, apart / tied_share, zero) if tied_share > 0 else zero,
        center_coefficient * (chosen + rejected) ** 2,
    )


def critique_loss(
    logps: "torch.Tensor", owners: "torch.Tensor", n: int, reduction: Literal["mean", "sum"] = "mean"
) -> "torch.Tensor":
    """Cross-entropy of each critique in nats, (n,): the mean over its tokens, as the released code has it, or the sum,
    as the paper writes it.

    Args:
        logps: log-probability of each critique token, (N,); tokens of prompts and padding are not among them.
        owners: which critique a token is of, (N,); each has one token or more.
        n: critiques.
        reduction: over the tokens of a critique.
    """
    import torch

    sums = torch.zeros(n, dtype=logps.dtype, device=logps.device).index_add(0, owners, -logps)
    return sums / torch.bincount(owners, minlength=n) if reduction == "mean" else sums
