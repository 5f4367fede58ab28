"""What the oracle groups of MM-RLHF say beyond the numbers worked in `test_mm_dpo`: slopes, symmetries (O1, O2).

The other groups: O3 and O4 in `test_critique_reward`, O5 in `pairs/readers/test_mm_rlhf_records`, O6 in
`evaluation/benches/test_paired`, O7 in `selection/test_turns` and `test_mm_rlhf_resample`, O8 in `test_mm_dpo`, O9 in
`evaluation/test_safety`, O10 in `evaluation/test_dimensions`.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import MMDPO
from pref_assets_tests.training.objectives.pairs import make_pairs


def betas(deltas, beta=0.1, w=0.5, k=0.5):
    return MMDPO(delta="rm", beta=beta, w=w, k=k).betas(torch.tensor(deltas, dtype=torch.float64))


def loss(values, delta=0.0, **settings):
    return float(MMDPO(delta="rm", **settings).losses(make_pairs(*values, columns={"delta": delta})).loss)


def test_beta_starts_with_slope_beta_w_k():
    delta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    MMDPO(delta="rm").betas(delta + 1e-12).sum().backward()
    assert float(delta.grad) == pytest.approx(0.1 * 0.5 * 0.5, rel=1e-9)


@given(st.floats(0, 40), st.floats(0, 40), st.floats(0.01, 0.99))
def test_beta_is_concave_where_the_chosen_side_is_better(one, other, share):
    ends = betas([one, other])
    between = betas([share * one + (1 - share) * other])
    assert float(between) >= float(share * ends[0] + (1 - share) * ends[1]) - 1e-12


@pytest.mark.parametrize("delta", [-1.0, -2.1972245773362196, -50.0, -1e6])
def test_a_worse_chosen_side_never_gets_less_than_beta(delta):
    # Unclamped, the formula gives .0676 at -1, 0 at -ln(1 + 1 / w) / k, and overflows further down.
    assert float(betas([delta])) == pytest.approx(0.1)


def test_gradient_of_the_worked_pair():
    batch = make_pairs(-10, -12, -11, -11.5, columns={"delta": 0.0})
    batch.chosen.logp.requires_grad_()
    MMDPO(delta="rm").losses(batch).loss.sum().backward()
    assert float(batch.chosen.logp.grad) == pytest.approx(-0.04625701546562505, rel=1e-9)


@given(st.floats(-20, 20), st.floats(-3, 6))
def test_swapping_the_sides_turns_the_margin(h, delta):
    # -log S(x) + log S(-x) = -x, with x = beta h.
    beta = float(betas([delta]))
    assert loss((h, 0, 0, 0), delta) - loss((0, h, 0, 0), delta) == pytest.approx(-beta * h, abs=1e-9)


@given(st.floats(0.001, 5), st.floats(-5, 20), st.floats(-50, 0), st.floats(-50, 0))
def test_the_reference_itself_loses_ln_2(beta, delta, chosen, rejected):
    assert loss((chosen, rejected, chosen, rejected), delta, beta=beta) == pytest.approx(math.log(2))
