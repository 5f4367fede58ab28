"""General preferences: log-ratios move to scores over beta."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import DPO, GPO
from pref_assets_tests.training.objectives.laws import loss_and_gradient
from pref_assets_tests.training.objectives.pairs import make_pairs

numbers = st.floats(-20, 20)


def pair(chosen, rejected, s_chosen, s_rejected):
    return make_pairs(chosen, rejected, columns={"s_chosen": s_chosen, "s_rejected": s_rejected})


def test_by_hand():
    # Log-ratios 1 and -2, aims .3 / .1 and -.1 / .1: (4 + 1) / 2.
    result, chosen, rejected = loss_and_gradient(GPO(scores="gpm", beta=0.1), pair(1.0, -2.0, 0.3, -0.1))
    assert float(result.loss) == pytest.approx(2.5)
    assert (float(chosen), float(rejected)) == pytest.approx((-2, -1))
    assert float(result.reward_chosen) == pytest.approx(0.1)


@given(numbers, numbers, st.floats(0.01, 2))
def test_it_is_least_where_rewards_are_the_scores(s_chosen, s_rejected, beta):
    objective = GPO(scores="gpm", beta=beta)
    result, *gradients = loss_and_gradient(objective, pair(s_chosen / beta, s_rejected / beta, s_chosen, s_rejected))
    assert float(result.loss) == pytest.approx(0, abs=1e-12)
    assert all(float(each) == pytest.approx(0, abs=1e-12) for each in gradients)


@given(numbers)
def test_opposite_scores_are_ipo(h):
    # Of log-ratios h / 2 and -h / 2 and scores 1/4 and -1/4: (h / 2 - 1 / (4 beta))^2 is a quarter of IPO's.
    batch = pair(h / 2, -h / 2, 0.25, -0.25)
    found = GPO(scores="gpm", beta=0.1).losses(batch).loss
    torch.testing.assert_close(4 * found, DPO(loss_type="ipo", beta=0.1).losses(batch).loss)


def test_a_circle_keeps_the_policy_where_it_is():
    _, chosen, rejected = loss_and_gradient(GPO(scores="gpm"), pair(0.0, 0.0, 0.0, 0.0))
    assert float(chosen) == float(rejected) == 0


def test_what_it_asks_for_and_refuses():
    asked = GPO(scores="gpm").score_columns()
    assert {name: each.column for name, each in asked.items()} == {
        "s_chosen": "score_chosen",
        "s_rejected": "score_rejected",
    }
    assert set(GPO(scores="gpm").refused()) == {"margin", "two prompts", "soft label"}
    with pytest.raises(ValueError, match="beta"):
        GPO(scores="gpm", beta=0)
