"""f-divergences against worked numbers and their limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import DPO
from pref_assets.training.objectives.f_divergence import score
from pref_assets_tests.training.objectives.pairs import make_pairs, tensor

KINDS = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")


def test_scores_by_hand():
    r = tensor(math.log(2))
    assert float(score(r, "reverse_kl", 0.5)) == pytest.approx(math.log(2))
    assert float(score(r, "forward_kl", 0.5)) == pytest.approx(0.5)
    assert float(score(r, "js_divergence", 0.5)) == pytest.approx(math.log(4 / 3))
    assert float(score(r, "alpha_divergence", 0.5)) == pytest.approx(2 * (1 - 1 / math.sqrt(2)))
    assert float(score(r, "alpha_divergence", 3.0)) == pytest.approx(1.5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unchanged_policy_scores_nothing_and_every_score_starts_with_slope_that_of_the_ratio(kind):
    r = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    found = score(r, kind, 0.5)
    assert float(found) == 0
    (slope,) = torch.autograd.grad(found, r)
    assert float(slope) == pytest.approx(0.5 if kind == "js_divergence" else 1)


@given(st.floats(-20, 20))
def test_alpha_passes_from_forward_to_reverse_kl(r):
    assert float(score(tensor(r), "alpha_divergence", 1.0)) == r
    assert float(score(tensor(r), "alpha_divergence", 1.0 + 1e-9)) == pytest.approx(r, rel=1e-5, abs=1e-9)
    forward = float(score(tensor(r), "forward_kl", 0.5))
    assert float(score(tensor(r), "alpha_divergence", 0.0)) == pytest.approx(forward, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("r", [-1e4, 1e4])
def test_scores_and_slopes_stay_finite(kind, r):
    ratio = torch.tensor([r], requires_grad=True)
    found = score(ratio, kind, 0.0)
    found.backward()
    assert math.isfinite(float(found))
    assert math.isfinite(float(ratio.grad))


@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "ipo", "robust", "discopop", "sigmoid_norm"])
def test_reverse_kl_is_dpo(loss_type):
    pairs = make_pairs([-9.0, -4.0], [-8.0, -7.0], -9.5, -7.0, n_chosen=[3, 2], n_rejected=[2, 5])
    plain = DPO(loss_type=loss_type).losses(pairs).loss
    same = DPO(loss_type=loss_type, f_divergence="alpha_divergence", f_alpha=1.0).losses(pairs).loss
    assert torch.equal(plain, same)


@pytest.mark.parametrize("loss_type", ["nca_pair", "bco_pair", "sppo_hard", "aot", "apo_zero", "apo_down"])
def test_losses_in_which_the_constant_does_not_cancel_are_refused(loss_type):
    with pytest.raises(ValueError, match=loss_type):
        DPO(loss_type=loss_type, f_divergence="forward_kl")
