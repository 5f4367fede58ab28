"""Offline preferences, and the divergence from the reference where the policy itself goes."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pref_assets.training.objectives.extended import Extended, Term
from pref_assets.training.objectives.kernel import Pairs
from pref_assets.training.objectives.live import LiveSamples

if TYPE_CHECKING:
    import torch


class HyPO(Extended):
    """HyPO (Song et al. 2024, arXiv 2406.01462): the pairs' loss plus ``lam`` times KL(policy, reference), measured on
    unlabelled answers that the policy gives at that step. DPO alone controls nothing off its data.

    The prompts answered are the pairs' own. The gradient of the divergence is REINFORCE with a leave-one-out baseline
    over the answers to one prompt; the loss reported has the divergence's estimate in it. The reference is the policy
    with its adapters off, so it needs `lora` and a reference that is a base model. The weight 1e-4 and two answers
    are from memory of the paper's summarisation runs. Costs ``live.n`` generated answers a pair and step, most of the
    time of a step.
    """

    type: Literal["hypo"] = "hypo"
    lam: float = Field(default=1e-4, ge=0)
    """Weight of the divergence; 0 draws nothing."""
    samples: int = Field(default=2, ge=2, le=64)
    """Answers to each pair's prompt; two at least, for the baseline."""
    max_new_tokens: int = Field(default=64, ge=1, le=100_000)
    """Answers are cut after this many tokens; the divergence is that of answers cut there."""

    @property
    def live(self) -> LiveSamples | None:
        return LiveSamples(n=self.samples, max_new_tokens=self.max_new_tokens, by="policy") if self.lam else None

    def further(self, pairs: Pairs) -> Term | None:
        import torch

        if not self.lam:
            return None
        drawn = [pairs.parts[f"sampled_{i}"] for i in range(self.samples)]
        logp, ref = (torch.stack(each, 1) for each in ([s.logp for s in drawn], [s.ref for s in drawn]))
        return Term(self.lam * sampled_kl(logp, ref), {"reverse_kl": (logp - ref).mean(1).detach()})


def sampled_kl(logp: "torch.Tensor", ref: "torch.Tensor") -> "torch.Tensor":
    """KL(policy, reference) from k samples of the policy, (n, k) log-probabilities each: (n,).

    The value is the mean of log policy - log reference; the gradient is that of RLOO (Ahmadian et al. 2024,
    arXiv 2402.14740) with that difference as the cost: mean of (cost - mean cost of the others) grad log policy.
    Both are unbiased, since log policy itself has an expected gradient of zero.
    """
    k = logp.shape[1]
    cost = (logp - ref).detach()
    advantage = (cost - cost.mean(1, keepdim=True)) * (k / (k - 1))
    surrogate = (advantage * logp).mean(1)
    return cost.mean(1) + surrogate - surrogate.detach()
