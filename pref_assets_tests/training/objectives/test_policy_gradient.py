"""Policy gradients: hand-worked losses, gradients, clipping, and the KL that begins at 0."""

import math

import pytest
import torch
from pydantic import ValidationError

from pref_assets.training.objectives import PolicyGradient
from pref_assets.training.objectives.kernel import Pairs, Sequences


def answers(tokens: list[list[float]], ref: list[list[float]]) -> tuple[Sequences, torch.Tensor]:
    """Answers of given log-probabilities of tokens, and the leaf that holds them."""
    leaf = torch.tensor(tokens, dtype=torch.float64, requires_grad=True)
    other = torch.tensor(ref, dtype=torch.float64)
    counts = torch.full((len(tokens),), float(leaf.shape[1]), dtype=torch.float64)
    return Sequences(leaf.sum(1), other.sum(1), counts, leaf, torch.zeros_like(leaf).long(), other), leaf


def pairs(
    chosen: Sequences, rejected: Sequences, old: tuple[float, float], tokens: int = 3, advantage: float = 1.0
) -> Pairs:
    n = len(chosen.logp)

    def column(value: float) -> torch.Tensor:
        return torch.full((n,), value, dtype=torch.float64)

    columns = {}
    for side, its, value in (("chosen", advantage, old[0]), ("rejected", -advantage, old[1])):
        columns |= {f"advantage_{side}": column(its), f"share_{side}": column(1.0), f"tokens_{side}": column(tokens)}
        columns |= {f"sampler_logp_{side}": column(value), f"reward_{side}": column(its)}
    return Pairs(chosen, rejected, column(1.0), column(0.0), columns)


TOKENS, OTHERS = [[-1.0, -0.5, -2.0]], [[-0.2, -3.0, -1.0]]


def test_on_policy_the_gradient_is_advantage_times_score() -> None:
    (chosen, leaf), (rejected, other) = answers(TOKENS, TOKENS), answers(OTHERS, OTHERS)
    batch = pairs(chosen, rejected, (-3.5, -4.2))
    for objective, scale in (
        (PolicyGradient(per_token=False, clip=None, kl=0.0), 1.0),
        (PolicyGradient(per_token=True, clip=0.2, kl=0.0), 1 / 3),
        (PolicyGradient(per_token=True, clip=0.2, kl=0.5), 1 / 3),
    ):
        found = objective.losses(batch)
        grads = torch.autograd.grad(found.loss.sum(), [leaf, other], retain_graph=True)
        assert torch.allclose(grads[0], torch.full_like(leaf, -scale))
        assert torch.allclose(grads[1], torch.full_like(other, scale))
        assert found.values["kl"].tolist() == [0.0]  # The policy is the reference.
        assert found.values["clipped"].tolist() == [0.0]
        assert (found.reward_chosen.tolist(), found.reward_rejected.tolist()) == ([1.0], [-1.0])


def test_k3_by_hand() -> None:
    (chosen, _), (rejected, _) = answers(TOKENS, OTHERS), answers(OTHERS, OTHERS)
    found = PolicyGradient(per_token=True, clip=None, kl=2.0).losses(pairs(chosen, rejected, (-3.5, -4.2)))
    gaps = [0.8, -2.5, 1.0]
    k3 = sum(math.exp(d) - d - 1 for d in gaps) / 3
    assert found.loss.item() == pytest.approx(2 * k3)
    assert found.values["kl"].item() == pytest.approx(k3 / 2)
    summed = PolicyGradient(per_token=False, clip=None, kl=2.0).losses(pairs(chosen, rejected, (-3.5, -4.2)))
    assert summed.loss.item() == pytest.approx(6 * k3)


def test_clipping_stops_what_went_too_far_and_nothing_else() -> None:
    objective = PolicyGradient(per_token=True, clip=0.2, kl=0.0)
    for old, advantage, flows in ((-4.5, 1.0, False), (-2.5, 1.0, True), (-4.5, -1.0, True), (-2.5, -1.0, False)):
        (chosen, leaf), (rejected, _) = answers(TOKENS, TOKENS), answers(OTHERS, OTHERS)
        found = objective.losses(pairs(chosen, rejected, (old, -4.2), advantage=advantage))
        (grad,) = torch.autograd.grad(found.loss.sum(), leaf)
        assert bool(grad.any()) == flows
        assert found.values["clipped"].item() == (0.0 if flows else 0.5)


def test_tokens_that_the_policy_did_not_draw_do_not_count() -> None:
    (chosen, leaf), (rejected, _) = answers(TOKENS, OTHERS), answers(OTHERS, OTHERS)
    objective = PolicyGradient(per_token=True, clip=None, kl=0.3)
    (grad,) = torch.autograd.grad(objective.losses(pairs(chosen, rejected, (-1.5, -3.2), tokens=2)).loss.sum(), leaf)
    assert grad[0, 2] == 0
    assert (grad[0, :2] != 0).all()


def test_no_advantage_no_gradient() -> None:
    (chosen, leaf), (rejected, other) = answers(TOKENS, TOKENS), answers(OTHERS, OTHERS)
    found = PolicyGradient(kl=0.0).losses(pairs(chosen, rejected, (-3.0, -4.0), advantage=0.0))
    grads = torch.autograd.grad(found.loss.sum(), [leaf, other])
    assert not any(each.any() for each in grads)


def test_bad_settings_and_columns_that_have_no_place() -> None:
    with pytest.raises(ValidationError):
        PolicyGradient(clip=1.0)
    assert set(PolicyGradient().refused()) == {"margin", "two prompts", "soft label", "tie"}
    assert PolicyGradient().reference_tokens
    assert not PolicyGradient(kl=0.0).reference_tokens
