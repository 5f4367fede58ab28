"""Dynamic reward scaling: the formula's numbers, its bounds, and the released code's two other ways."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import DPO, MMDPO
from pref_assets.training.objectives.mm_dpo import draw_near_mean, implicit_beta, scaled_beta
from pref_assets_tests.training.objectives.laws import assert_batching_changes_nothing, assert_same, tiny_data
from pref_assets_tests.training.objectives.pairs import make_pairs


def beta_of(delta, beta=0.1, w=0.5, k=0.5):
    return float(scaled_beta(torch.tensor(delta, dtype=torch.float64), beta, w, k))


@pytest.mark.parametrize(
    ("delta", "settings", "expected"),
    [
        (0.0, {}, 0.1),
        (0.5, {}, 0.11105996084642976),
        (1.0, {}, 0.11967346701436835),
        (2.0, {}, 0.1316060279414279),
        (5.0, {}, 0.14589575006880506),
        (100.0, {}, 0.15),
        (-1.0, {}, 0.1),
        (1.0, {"k": 5}, 0.14966310265004573),
        (1.0, {"k": 0.01}, 0.10049750831254159),
        (2.0, {"w": 0.1}, 0.10632120558828557),
        (math.log(2) / 0.5, {}, 0.125),
        (1e6, {}, 0.15),
        (-1e6, {}, 0.1),
    ],
)
def test_beta_of_a_gap(delta, settings, expected):
    assert beta_of(delta, **settings) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "delta", "expected"),
    [
        ((-10, -12, -11, -11.5), 0, 0.6209570477895321),
        ((-10, -12, -11, -11.5), 2, 0.5993060614956959),
        ((-10, -12, -11, -11.5), 10, 0.5871864001870358),
        ((-50, -48, -49, -49), 1, 0.8199644892413174),
        ((-7, -7, -7, -7), 3, math.log(2)),
        ((-5, -105, -10, -10), 5, 4.611348882775904e-07),
    ],
)
def test_losses_of_worked_pairs(values, delta, expected):
    loss = MMDPO(delta="rm").losses(make_pairs(*values, columns={"delta": delta})).loss
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_gradient_of_equal_sides_is_half_the_beta():
    batch = make_pairs(-7, -7, -7, -7, columns={"delta": 3.0})
    batch.chosen.logp.requires_grad_()
    MMDPO(delta="rm").losses(batch).loss.sum().backward()
    assert float(batch.chosen.logp.grad) == pytest.approx(-0.0694217459962893, rel=1e-9)


gaps = st.floats(-50, 50)


@given(gaps, gaps, st.floats(0.001, 5), st.floats(0, 3), st.floats(0.01, 5))
def test_beta_grows_with_the_gap_within_its_bounds(one, other, beta, w, k):
    low, high = sorted((one, other))
    assert beta_of(low, beta, w, k) <= beta_of(high, beta, w, k)
    assert beta * (1 - 1e-12) <= beta_of(high, beta, w, k) <= beta * (1 + w) * (1 + 1e-12)
    assert beta_of(high, 2 * beta, w, k) == pytest.approx(2 * beta_of(high, beta, w, k))


@given(st.floats(-30, 30), gaps)
def test_a_larger_gap_lowers_the_loss_of_a_pair_that_is_right(h, delta):
    losses = [float(MMDPO(delta="rm").losses(make_pairs(h, 0, columns={"delta": d})).loss) for d in (delta, delta + 1)]
    if h > 0:
        assert losses[1] <= losses[0]
    elif h < 0:
        assert losses[1] >= losses[0]
    else:
        assert losses == pytest.approx([math.log(2)] * 2)


@pytest.mark.parametrize("p", [1.0, 0.7])
def test_without_weight_it_is_dpo(p):
    batch = make_pairs([-10, -3], [-12, -1], [-11, -2], [-11.5, -2], p=p, margin=[0, 0.5], columns={"delta": [2.0, -1]})
    for scaling in ("paper", "linear"):
        assert_same(MMDPO(delta="rm", scaling=scaling, w=0, beta=0.3), DPO(beta=0.3), batch)


def test_total_with_likelihood():
    # Losses .6 and .7 on average, twice a negative log-likelihood of 2 a token: .65 + .25 * 2.
    batch = make_pairs([-4, -8], [0, 0], n_chosen=[2, 4], columns={"delta": 0.0})
    plain = MMDPO(delta="rm").losses(batch).loss
    total = MMDPO(delta="rm", sft=0.25).losses(batch).loss
    assert (total - plain).tolist() == pytest.approx([0.5, 0.5])


def test_linear_scaling_of_the_released_code():
    betas = MMDPO(delta="rm", scaling="linear", w=0.1).betas(torch.tensor([0, 1, 3, -20], dtype=torch.float64))
    assert betas.tolist() == pytest.approx([0.1, 0.11, 0.13, 0.001])


def test_implicit_scaling_of_the_released_code():
    margins = torch.tensor([1.0, 2, 3, 4, 10], dtype=torch.float64)
    assert float(implicit_beta(margins, torch.arange(4), 0.1, 0.1, 0.001)) == pytest.approx(0.085)
    margins = torch.tensor([-100.0, 0, 0, 0, 0], dtype=torch.float64)
    assert float(implicit_beta(margins, torch.arange(1), 0.1, 0.1, 0.001)) == pytest.approx(0.001)


@pytest.mark.parametrize(("n", "drawn"), [(1, 0), (2, 1), (4, 3), (5, 4), (8, 6)])
def test_how_many_are_drawn(n, drawn):
    picked = draw_near_mean(torch.arange(n, dtype=torch.float64), 0.8, (0, 0))
    assert len(set(picked.tolist())) == len(picked) == drawn


def test_draws_prefer_the_mean_and_do_not_depend_on_order():
    margins = torch.tensor([0.0, 0.1, -0.1, 0.05, 9.0], dtype=torch.float64)
    draws = [set(draw_near_mean(margins, 0.8, (0, step)).tolist()) for step in range(300)]
    left_out = [5 * 4 // 2 - sum(each) for each in draws]
    # exp(-z^2 / 2) of the far one, z = 1.79, is .20 against some .9 of the others.
    assert np.mean([each == 4 for each in left_out]) > 0.4
    order = torch.tensor([3, 0, 4, 2, 1])
    again = order[draw_near_mean(margins[order], 0.8, (0, 7))]
    assert set(again.tolist()) == draws[7]
    # One pair, or margins that are all the same: nothing to scale by, no error.
    assert float(implicit_beta(margins[:1], draw_near_mean(margins[:1], 0.8, (0, 0)), 0.1, 0.5, 0.001)) == 0.1
    assert len(draw_near_mean(torch.zeros(5), 0.8, (0, 0))) == 4


def test_implicit_draws_anew_each_step_and_repeats_with_its_state():
    objective = MMDPO(scaling="implicit", w=0.1)
    batch = make_pairs([0.3 * i**2 for i in range(8)], [0.0] * 8)
    carried = objective.carried_start()
    first, second = (objective.statistics(batch, carried)["beta"] for _ in range(2))
    assert int(carried["steps"]) == 2
    assert len(set(first.tolist())) == 1
    assert first[0] != second[0]
    assert objective.statistics(batch, {"steps": torch.ones(1, dtype=torch.float64)})["beta"][0] == second[0]


def test_implicit_does_not_depend_on_micro_batches(tiny, rows, logps, reference):
    objective = MMDPO(scaling="implicit", w=5.0)
    policy, data = tiny_data(objective, tiny, rows, logps, reference)
    first, second = assert_batching_changes_nothing(objective, policy, data)
    assert not torch.equal(first, second)


def test_betas_worth_keeping():
    assert MMDPO(delta="rm").derived({"delta": np.array([0.0, 2.0])})["beta"] == pytest.approx(
        [0.1, 0.1316060279414279]
    )
    assert MMDPO(scaling="implicit").derived({}) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs the scores"),
        ({"scaling": "linear"}, "needs the scores"),
        ({"scaling": "implicit", "delta": "rm"}, "reads no score"),
        ({"delta": "rm", "w": -1}, "w"),
        ({"delta": "rm", "k": 0}, "k"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MMDPO(**settings)
