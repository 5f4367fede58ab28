"""DPO against worked numbers, its laws, and TRL."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import DPO
from pref_assets_tests.training.objectives.pairs import make_pairs

logp = st.floats(-200, 0)


def pairs(chosen, rejected, ref_chosen, ref_rejected, p=1.0, n_chosen=1, n_rejected=1):
    return make_pairs(chosen, rejected, ref_chosen, ref_rejected, p, n_chosen, n_rejected)


def margin_pairs(h, p=1.0):
    return pairs(h, 0.0, 0.0, 0.0, p)


def loss(h, p=1.0, **settings):
    return float(DPO(**settings).losses(margin_pairs(h, p)).loss)


@pytest.mark.parametrize(
    ("values", "expected"),
    [((-10, -12, -11, -11.5), 0.6209570477895321), ((-7, -7, -7, -7), math.log(2))],
)
def test_sigmoid_loss_of_worked_pairs(values, expected):
    assert float(DPO().losses(pairs(*values)).loss) == pytest.approx(expected, rel=1e-9)


def test_gradient_of_a_worked_pair():
    batch = pairs(-10, -12, -11, -11.5)
    batch.chosen.logp.requires_grad_()
    DPO().losses(batch).loss.sum().backward()
    assert float(batch.chosen.logp.grad) == pytest.approx(-0.04625701546562505, rel=1e-9)


def test_rewards_are_beta_times_log_ratios():
    result = DPO(beta=0.5).losses(pairs(-10, -12, -11, -11.5))
    assert float(result.reward_chosen) == pytest.approx(0.5)
    assert float(result.reward_rejected) == pytest.approx(-0.25)


def test_every_variant_by_hand():
    # beta h = 1: -log S(1) = 0.313261688, -log S(-1) = 1.313261688.
    right, wrong = 0.31326168751822286, 1.3132616875182228
    assert loss(10) == pytest.approx(right)
    assert loss(10, label_smoothing=0.1) == pytest.approx(0.9 * right + 0.1 * wrong)
    assert loss(10, loss_type="robust", label_smoothing=0.1) == pytest.approx((0.9 * right - 0.1 * wrong) / 0.8)
    assert loss(10, p=0.75) == pytest.approx(0.75 * right + 0.25 * wrong)
    assert loss(10, p=0.75, soft_labels=False) == pytest.approx(right)
    # IPO with beta 0.1 aims at a margin of 5 per token: chosen 8 / 4 tokens, rejected -3 / 1 token, margin 5.
    assert float(DPO(loss_type="ipo").losses(pairs(8, -3, 0, 0, n_chosen=4)).loss) == pytest.approx(0)
    assert float(DPO(loss_type="ipo").losses(pairs(8, -3, 0, 0, p=0.5, n_chosen=4)).loss) == pytest.approx(50)


@given(logp, logp, logp, logp, st.floats(0.01, 5))
def test_swapping_the_sides_is_flipping_the_label(c, r, rc, rr, beta):
    swapped = pairs(r, c, rr, rc, p=0.0)
    for loss_type in ("sigmoid", "robust", "ipo"):
        settings = DPO(beta=beta, loss_type=loss_type, label_smoothing=0 if loss_type == "ipo" else 0.2)
        one, other = settings.losses(pairs(c, r, rc, rr)), settings.losses(swapped)
        assert float(one.loss) == pytest.approx(float(other.loss), rel=1e-9, abs=1e-12)


@given(logp, logp, st.floats(0.01, 5))
def test_an_unchanged_policy_has_loss_log_two(chosen, rejected, beta):
    batch = pairs(chosen, rejected, chosen, rejected)
    assert float(DPO(beta=beta).losses(batch).loss) == pytest.approx(math.log(2))


@given(st.floats(-50, 50), st.floats(0, 0.49))
def test_robust_loss_is_unbiased_under_its_flip_rate(h, e):
    clean = loss(h)
    noisy = (1 - e) * loss(h, loss_type="robust", label_smoothing=e)
    noisy += e * loss(-h, loss_type="robust", label_smoothing=e)
    assert noisy == pytest.approx(clean, rel=1e-7, abs=1e-7)


def test_soft_label_is_the_optimum_margin():
    # The loss of a pair with p_chosen = p is least where S(beta h) = p.
    h = math.log(0.8 / 0.2) / 0.1
    assert loss(h, p=0.8) < min(loss(h - 0.5, p=0.8), loss(h + 0.5, p=0.8))


@pytest.mark.parametrize(
    "settings",
    [{"loss_type": "ipo", "label_smoothing": 0.1}, {"beta": 0}, {"label_smoothing": 0.5}, {"loss_type": "margin"}],
)
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(ValueError):
        DPO(**settings)


def with_margin(h, margin, p=1.0):
    return replace(margin_pairs(h, p), margin=torch.tensor([margin], dtype=torch.float64))


@pytest.mark.parametrize("loss_type", ["sigmoid", "robust"])
def test_a_margin_is_taken_from_the_difference_of_rewards(loss_type):
    objective = DPO(loss_type=loss_type, label_smoothing=0.1)
    for p in (1.0, 0.7):
        demanding = objective.losses(with_margin(20.0, 1.5, p)).loss
        assert float(demanding) == pytest.approx(loss(5.0, p, loss_type=loss_type, label_smoothing=0.1), rel=1e-12)
        none = objective.losses(with_margin(20.0, 0.0, p)).loss
        assert float(none) == loss(20.0, p, loss_type=loss_type, label_smoothing=0.1)


@given(st.floats(-50, 50), st.floats(0, 1), st.floats(-5, 5))
def test_swapping_sides_label_and_margin_changes_nothing(h, p, margin):
    there = DPO().losses(with_margin(h, margin, p)).loss
    back = DPO().losses(with_margin(-h, -margin, 1 - p)).loss
    assert float(there) == pytest.approx(float(back), rel=1e-9, abs=1e-12)
