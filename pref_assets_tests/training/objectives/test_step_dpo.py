"""Step-level preferences: nothing before the point of divergence counts."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import DPO, StepDPO
from pref_assets_tests.training.objectives.laws import (
    assert_batching_changes_nothing,
    assert_same,
    loss_and_gradient,
    tiny_data,
    token_pairs,
    token_side,
)
from pref_assets_tests.training.objectives.pairs import make_pairs


def step(**columns):
    """Two shared tokens whose log-ratios differ (as after truncated prompts), then 2 tokens against 1."""
    chosen = token_side([[-1, -1, -2, -3]], [[1, 2, 5, 6]], [[-5, -1, -3, -4]])
    rejected = token_side([[-1, -1, -2]], [[1, 2, 7]], [[-1, -1, -1]])
    return token_pairs(chosen, rejected, columns)


def test_by_hand():
    result, up, down = loss_and_gradient(StepDPO(beta=1.0), step())
    # Log-ratios after the divergence: 1 + 1 and -1.
    assert result.loss.tolist() == pytest.approx([math.log1p(math.exp(-3))])
    slope = 1 / (1 + math.exp(3))
    assert up.tolist() == [pytest.approx([0, 0, -slope, -slope])]
    assert down.tolist() == [pytest.approx([0, 0, slope])]
    assert result.values["shared_tokens"].tolist() == [2]
    # Per token: 1 and -1.
    assert StepDPO(beta=1.0, per_token=True).losses(step()).loss.tolist() == pytest.approx([math.log1p(math.exp(-2))])


def test_where_the_shared_start_cancels_or_is_empty_it_is_dpo():
    chosen = token_side([[-1, -1, -2, -3]], [[1, 2, 5, 6]], [[-5, -1, -3, -4]])
    rejected = token_side([[-1, -1, -2]], [[1, 2, 7]], [[-5, -1, -1]])
    here, there = StepDPO().losses(token_pairs(chosen, rejected)), DPO().losses(token_pairs(chosen, rejected))
    torch.testing.assert_close(here.loss, there.loss)
    apart = token_side([[-1, -1, -2, -3]], [[3, 2, 5, 6]], [[-5, -1, -3, -4]])
    assert_same(StepDPO(), DPO(), token_pairs(apart, rejected))


@pytest.mark.parametrize("confidence", [0.9, 0.5])
def test_smoothing_by_confidence_is_conservative_dpo(confidence):
    apart = token_side([[-1, -2.0]], [[3, 2]], [[-2, -3]])
    other = token_side([[-1, -2.0]], [[4, 2]], [[-1, -1]])
    batch = token_pairs(apart, other, {"confidence": [confidence]})
    assert_same(StepDPO(confidence="rm"), DPO(), batch, replace(batch, p_chosen=batch.p_chosen * confidence))


@given(st.floats(0, 0.5))
def test_a_label_that_is_rather_wrong_counts_as_a_tie(confidence):
    half = StepDPO(confidence="rm").losses(step(confidence=[0.5])).loss
    torch.testing.assert_close(StepDPO(confidence="rm").losses(step(confidence=[confidence])).loss, half)


def test_a_tie_has_no_gradient_at_the_start():
    same = token_side([[-1, -2.0]], [[3, 2]], [[-1, -2]])
    other = token_side([[-1, -2.0]], [[4, 2]], [[-1, -2]])
    _, up, down = loss_and_gradient(StepDPO(confidence="rm"), token_pairs(same, other, {"confidence": [0.5]}))
    assert not up.any()
    assert not down.any()


def test_micro_batches_change_nothing(tiny, rows, token_logps, reference):
    objective = StepDPO(per_token=True)
    policy, data = tiny_data(objective, tiny, rows, token_logps, reference)
    assert_batching_changes_nothing(objective, policy, data)


def test_what_it_asks_for_and_refuses():
    assert StepDPO().reference_tokens
    assert StepDPO().score_columns() == {}
    asked = StepDPO(confidence="rm").score_columns()["confidence"]
    assert (asked.column, asked.probability) == ("p_correct", True)
    assert set(StepDPO().refused()) == {"two prompts"}
    assert set(StepDPO(confidence="rm").refused()) == {"two prompts", "soft label", "tie"}
    right, wrong = StepDPO().losses(step()).loss, StepDPO().pair_losses(step().swapped()).loss
    soft = StepDPO().losses(replace(step(), p_chosen=torch.tensor([0.7], dtype=torch.float64))).loss
    torch.testing.assert_close(soft, 0.7 * right + 0.3 * wrong)
    with pytest.raises(ValueError, match="beta"):
        StepDPO(beta=0)
    assert float(StepDPO().losses(make_pairs(-7, -7, -7, -7)).loss) == pytest.approx(math.log(2))
