"""Alignment without a reference: likelihood of the winner and a margin of costs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import MaPO
from pref_assets.training.objectives.mapo import mapo_loss, psi
from pref_assets_tests.training.objectives.laws import loss_and_gradient
from pref_assets_tests.training.objectives.pairs import make_pairs


def number(value):
    return torch.tensor([value], dtype=torch.float64)


def test_worked_numbers():
    assert float(psi(number(0.10), 0.5)) == pytest.approx(0.9752083, abs=1e-7)
    assert float(psi(number(0.12), 0.5)) == pytest.approx(0.9703000, abs=1e-7)
    # The paper's temperature is 1000 steps of noise; its log-odds of this pair are 4.90834.
    assert float(1000 * (psi(number(0.10), 0.5) - psi(number(0.12), 0.5))) == pytest.approx(4.90834, abs=1e-4)
    assert float(mapo_loss(number(0.10), number(0.12), 0.1, 0.5, 1000)) == pytest.approx(0.1007358, abs=1e-6)
    assert float(mapo_loss(number(0.10), number(0.10), 0.1, 0.5, 1000)) == pytest.approx(0.1693147, abs=1e-7)


def test_psi_at_zero_and_far_out():
    at = torch.tensor([0.0, 1e-12, 2e-3, 2e3, 1e6], dtype=torch.float64, requires_grad=True)
    values = psi(at, 0.5)
    values.sum().backward()
    assert values.tolist() == pytest.approx([1, 1, 1 - 5e-4 + 1e-6 / 12, 0, 0], abs=1e-12)
    assert at.grad.tolist() == pytest.approx([-0.25, -0.25, -0.25 + 1e-3 / 12, 0, 0], abs=1e-8)


@given(st.floats(0, 20), st.floats(1e-3, 5))
def test_psi_falls_and_has_no_seam(cost, a):
    assert 0 <= float(psi(number(cost + 0.01), a)) <= float(psi(number(cost), a)) <= 1
    seam = 1e-3 / a
    here, there = float(psi(number(seam * (1 - 1e-9)), a)), float(psi(number(seam), a))
    assert here == pytest.approx(there, abs=1e-9)


@given(st.floats(-8, -0.01), st.floats(-8, -0.01), st.integers(1, 30))
def test_it_raises_the_winner_and_lowers_the_loser_whatever_their_lengths(chosen, rejected, n):
    batch = make_pairs(chosen * n, rejected * 3, n_chosen=n, n_rejected=3)
    result, up, down = loss_and_gradient(MaPO(), batch)
    assert float(up.sum()) < 0
    assert float(down.sum()) > 0
    assert float(result.loss) == pytest.approx(
        float(mapo_loss(number(-chosen), number(-rejected), 0.1, 0.5, 10.0)), rel=1e-9
    )
    assert (float(result.reward_chosen) > float(result.reward_rejected)) == (chosen > rejected) or chosen == rejected


def test_without_a_margin_it_is_fine_tuning_and_it_reads_no_reference():
    batch = make_pairs([-6.0], [-1.0], ref_chosen=[math.nan], ref_rejected=[math.nan], n_chosen=3)
    result, up, down = loss_and_gradient(MaPO(beta=0), batch)
    assert float(result.loss) == pytest.approx(2)
    assert up.sum(1).tolist() == pytest.approx([-1])
    assert float(down.sum()) == 0
    assert MaPO().reference_free


def test_a_soft_label_is_the_mean_of_both_orders():
    right, wrong = (MaPO().losses(make_pairs(*each)).loss for each in ((-1.0, -2.0), (-2.0, -1.0)))
    torch.testing.assert_close(MaPO().losses(make_pairs(-1.0, -2.0, p=0.7)).loss, 0.7 * right + 0.3 * wrong)


def test_what_it_refuses():
    assert set(MaPO().refused()) == {"margin", "two prompts"}
    for settings in ({"a": 0}, {"beta": -1}, {"temperature": 0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            MaPO(**settings)
