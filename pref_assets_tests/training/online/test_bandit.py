"""Card 26's bandit: 100 arms, a reward with one peak, exact gradients. The losses are the project's own objectives.

Where the reference puts its mass and the reward's peak coincide, all learn; where the peak is far out, only sampling
from the current policy finds it.
"""

from collections.abc import Callable

import pytest
import torch

from pref_assets.training.objectives import DPO, SFT, PolicyGradient
from pref_assets.training.objectives.kernel import Pairs, sequences_of

ARMS, STEPS, RATE = 100, 2000, 1.0
Loss = Callable[[torch.Tensor], torch.Tensor]


def reference() -> torch.Tensor:
    arms = torch.arange(ARMS, dtype=torch.float64)
    return torch.log_softmax(-((arms - 20) ** 2) / (2 * 25.0**2), 0)


def rewards(peak: int) -> torch.Tensor:
    return torch.exp(-(((torch.arange(ARMS, dtype=torch.float64) - peak) / 10) ** 2))


def best_of(n: int, peak: int) -> torch.Tensor:
    """How likely each arm is the best of n draws from the reference; equal rewards share."""
    reward, p = rewards(peak), reference().exp()
    levels = reward.unique()
    below = torch.stack([p[reward < level].sum() for level in levels])
    up_to = torch.stack([p[reward <= level].sum() for level in levels])
    chance = up_to**n - below**n
    place = torch.searchsorted(levels, reward)
    of_level = torch.zeros(len(levels), dtype=torch.float64).index_add(0, place, p)
    return chance[place] * p / of_level[place]


def pairs_of(chosen: torch.Tensor, rejected: torch.Tensor, columns: dict[str, torch.Tensor] | None = None) -> Pairs:
    ref, zeros = reference(), torch.zeros(len(chosen), dtype=torch.float64)
    sides = [sequences_of(logp, ref[: len(logp)]) for logp in (chosen, rejected)]
    return Pairs(*sides, zeros + 1, zeros, columns or {})


def imitation(peak: int, n: int) -> Loss:
    target = best_of(n, peak)

    def loss(logps: torch.Tensor) -> torch.Tensor:
        return (target * SFT(per_token=False).losses(pairs_of(logps, logps)).loss).sum()

    return loss


def reinforce(peak: int) -> Loss:
    """The expectation over the policy's own draws."""
    reward = rewards(peak)

    def loss(logps: torch.Tensor) -> torch.Tensor:
        p = logps.exp().detach()
        columns = {}
        for side, share in (("chosen", p), ("rejected", torch.zeros_like(p))):
            columns |= {f"advantage_{side}": reward - (p * reward).sum(), f"share_{side}": share}
            columns |= {f"tokens_{side}": torch.ones_like(p), f"sampler_logp_{side}": logps.detach()}
            columns[f"reward_{side}"] = reward
        objective = PolicyGradient(per_token=False, clip=None, kl=0.0)
        return objective.losses(pairs_of(logps, logps, columns)).loss.sum()

    return loss


def offline_dpo(peak: int, beta: float = 0.1) -> Loss:
    """The expectation over pairs of independent draws from the reference; its gradient is divided by beta."""
    reward, ref = rewards(peak), reference()
    better, worse = torch.nonzero(reward[:, None] > reward[None], as_tuple=True)
    weight = 2 * (ref[better] + ref[worse]).exp()
    ones, zeros = torch.ones_like(weight), torch.zeros_like(weight)

    def loss(logps: torch.Tensor) -> torch.Tensor:
        sides = [sequences_of(logps[arms], ref[arms]) for arms in (better, worse)]
        return (weight * DPO(beta=beta).losses(Pairs(*sides, ones, zeros)).loss).sum() / beta

    return loss


def learned(loss: Loss, steps: int = STEPS) -> torch.Tensor:
    """The policy after gradient descent from the reference, as probabilities."""
    logits = reference().clone().requires_grad_()
    for _ in range(steps):
        (grad,) = torch.autograd.grad(loss(torch.log_softmax(logits, 0)), logits)
        with torch.no_grad():
            logits -= RATE * grad
    return torch.softmax(logits.detach(), 0)


def value(loss: Loss, peak: int) -> float:
    return float((learned(loss) * rewards(peak)).sum())


@pytest.mark.parametrize(
    ("peak", "pref_ft", "best_of_10", "policy_gradient"), [(20, 0.538, 0.915, 0.999), (70, 0.104, 0.394, 0.913)]
)
def test_what_imitation_and_sampling_reach(
    peak: int, pref_ft: float, best_of_10: float, policy_gradient: float
) -> None:
    found = [value(each, peak) for each in (imitation(peak, 2), imitation(peak, 10), reinforce(peak))]
    assert found == pytest.approx([pref_ft, best_of_10, policy_gradient], abs=0.02)
    assert found[2] > found[1] > found[0]


@pytest.mark.parametrize(("peak", "reached"), [(20, 0.994), (70, 0.060)])
def test_offline_dpo_finds_the_near_peak_and_loses_the_far_one(peak: int, reached: float) -> None:
    assert value(offline_dpo(peak), peak) == pytest.approx(reached, abs=0.02)


def test_imitation_ends_at_what_it_imitates() -> None:
    assert torch.allclose(learned(imitation(20, 2), 20_000), best_of(2, 20), atol=2e-3)
    assert float(best_of(2, 20).sum()) == pytest.approx(1)


def test_dpo_pushes_the_rejected_side_down() -> None:
    logps = reference().clone().requires_grad_()
    (grad,) = torch.autograd.grad(offline_dpo(20)(logps), logps)
    assert grad[20] < 0  # The best arm is always chosen, the worst one always rejected.
    assert grad[99] > 0
