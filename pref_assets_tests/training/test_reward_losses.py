"""Oracles of the losses of reward models (cards 14, 17, 59 of the methods)."""

import math

import pytest
import torch

from pref_assets.training.objectives.reward import (
    GaussianForm,
    bradley_terry,
    gaussian_bradley_terry,
    normal_points,
    rao_kupper,
)


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("m", "scaled", "margin"), [(1, 0.313262, 0.693147), (2, 0.626523, 1.313262), (3, 0.939785, 2.126928)]
)
def test_scaled_and_margin_losses_of_helpsteer2_preference(m: float, scaled: float, margin: float) -> None:
    """Chosen one ahead: the scaled and the margin loss for strengths 1, 2 and 3."""
    assert float(bradley_terry(t(1), t(0), scale=t(m))) == pytest.approx(scaled, abs=1e-6)
    assert float(bradley_terry(t(1), t(0), margin=t(m))) == pytest.approx(margin, abs=1e-6)
    assert float(bradley_terry(t(1), t(0), margin=0)) == pytest.approx(0.313262, abs=1e-6)


def test_scale_weighs_each_pair_and_not_the_mean() -> None:
    d, m = t(1, -2), t(1, 3)
    plain = bradley_terry(d, t(0, 0))
    found = bradley_terry(d, t(0, 0), scale=m).mean()
    assert float(found) == pytest.approx(float((m * plain).mean()))
    assert float(found) != pytest.approx(float(m.mean() * plain.mean()))


def test_a_half_label_has_no_gradient_at_zero_margin() -> None:
    chosen = t(0.7).requires_grad_(True)
    bradley_terry(chosen, t(0.7), t(0.5)).sum().backward()
    assert chosen.grad is not None
    assert float(chosen.grad) == 0


def test_swapping_the_sides_with_label_and_margin_changes_nothing() -> None:
    c, r, p, m = t(1.3, -0.2), t(0.4, 0.9), t(0.8, 1), t(0.5, -1)
    torch.testing.assert_close(bradley_terry(c, r, p, margin=m), bradley_terry(r, c, 1 - p, margin=-m))
    torch.testing.assert_close(rao_kupper(c, r, p, 0.4), rao_kupper(r, c, 1 - p, 0.4))


def test_centring_is_the_square_of_the_sum() -> None:
    assert float(bradley_terry(t(2), t(1), center=0.1) - bradley_terry(t(2), t(1))) == pytest.approx(0.9)


@pytest.mark.parametrize("d", [-2.0, 0.0, 0.7])
@pytest.mark.parametrize("threshold", [0.1, 1.0])
def test_rao_kupper_is_a_distribution_over_better_worse_and_tie(d: float, threshold: float) -> None:
    better, worse, tie = (math.exp(-float(rao_kupper(t(d), t(0), t(p), threshold))) for p in (1, 0, 0.5))
    assert better + worse + tie == pytest.approx(1)
    theta = math.exp(threshold)
    assert better == pytest.approx(math.exp(d) / (math.exp(d) + theta))


def test_without_a_threshold_rao_kupper_of_a_decided_pair_is_bradley_terry() -> None:
    torch.testing.assert_close(rao_kupper(t(1.2), t(0), t(1), 1e-12), bradley_terry(t(1.2), t(0)), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("mean", "spread", "nll_exp", "exp_nll"), [(1, 2, 0.4343, 0.6425), (0, 2, 0.6931, 1.0677), (1, 0, 0.3133, 0.3133)]
)
def test_gaussian_losses_by_gauss_hermite(mean: float, spread: float, nll_exp: float, exp_nll: float) -> None:
    points = normal_points("gauss_hermite", 60)
    for form, wanted in (("nll_exp", nll_exp), ("exp_nll", exp_nll)):
        assert float(gaussian_bradley_terry(t(mean), t(spread), 1.0, form, points)) == pytest.approx(wanted, abs=1e-3)


def test_draws_agree_with_gauss_hermite_within_their_error() -> None:
    exact = float(gaussian_bradley_terry(t(1), t(2), 1.0, "exp_nll", normal_points("gauss_hermite", 60)))
    nodes, logs = normal_points("mc", 1000, seed=1)
    drawn = torch.nn.functional.softplus(-(1 + 2 * nodes))
    error = float(drawn.std()) / math.sqrt(1000)
    assert abs(float(gaussian_bradley_terry(t(1), t(2), 1.0, "exp_nll", (nodes, logs))) - exact) < 3 * error


def test_the_probit_approximation_is_near_the_papers_form() -> None:
    found = float(gaussian_bradley_terry(t(1), t(2), 1.0, "nll_exp", normal_points("gauss_hermite", 60)))
    probit = math.log1p(math.exp(-1 / math.sqrt(1 + math.pi * 4 / 8)))
    assert probit == pytest.approx(0.4292, abs=1e-4)
    assert abs(found - probit) < 0.006


@pytest.mark.parametrize("form", ["nll_exp", "exp_nll"])
def test_without_spread_a_gaussian_margin_is_a_plain_one(form: GaussianForm) -> None:
    found = gaussian_bradley_terry(t(0.3, -2), t(0, 0), t(1, 0.7), form, normal_points("gauss_hermite", 20))
    torch.testing.assert_close(found, bradley_terry(t(0.3, -2), t(0, 0), t(1, 0.7)))


def test_only_the_expected_loss_punishes_spread_at_margin_zero() -> None:
    spread = t(1).requires_grad_(True)
    for form, punished in (("nll_exp", False), ("exp_nll", True)):
        (slope,) = torch.autograd.grad(
            gaussian_bradley_terry(t(0), spread, 1.0, form, normal_points("gauss_hermite", 20)).sum(), spread
        )
        assert (float(slope) > 0.01) == punished
