"""Smoothed preferences: what is known of a label scales the logit."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import DPO, SmPO
from pref_assets_tests.training.objectives.laws import assert_same, loss_and_gradient
from pref_assets_tests.training.objectives.pairs import make_pairs

numbers = st.floats(-20, 20)


def pair(h, gap=None, p=1.0):
    return make_pairs(h, 0.0, p=p, columns={} if gap is None else {"gap": gap})


@pytest.mark.parametrize(("gap", "factor"), [(0, 0), (0.2, 0.09967), (1, 0.46212)])
def test_factors_of_worked_gaps(gap, factor):
    result = SmPO(scores="rm").losses(pair(3.0, gap))
    assert float(result.values["factor"]) == pytest.approx(factor, abs=1e-5)
    assert float(result.loss) == pytest.approx(math.log1p(math.exp(-10 * factor * 0.3)), rel=1e-4)


def test_span_is_the_gap_that_counts_as_one():
    here, there = SmPO(scores="rm", span=0.16658).losses(pair(3.0, 0.16658)), SmPO(scores="rm").losses(pair(3.0, 1.0))
    torch.testing.assert_close(here.loss, there.loss)


@given(numbers)
def test_equal_sides_have_no_gradient_at_all(h):
    for objective, batch in ((SmPO(scores="rm"), pair(h, 0.0)), (SmPO(), pair(h, p=0.5))):
        result, chosen, rejected = loss_and_gradient(objective, batch)
        assert float(chosen) == float(rejected) == 0
        assert float(result.loss) == pytest.approx(math.log(2))


@given(numbers, st.floats(0.5, 50))
def test_a_certain_label_is_dpo_with_a_larger_beta(h, scale):
    assert_same(SmPO(scale=scale, beta=0.2), DPO(beta=0.2 * scale), pair(h))


@given(numbers, numbers)
def test_a_score_against_the_label_turns_the_pair_round(h, gap):
    objective = SmPO(scores="rm")
    torch.testing.assert_close(objective.losses(pair(h, gap)).loss, objective.losses(pair(-h, -gap)).loss)


@given(numbers, st.floats(0.5, 1))
def test_votes_and_scores_of_the_same_certainty_are_one(h, p):
    gap = math.log(p / (1 - p)) if p < 1 else 800.0
    here, there = SmPO().losses(pair(h, p=p)), SmPO(scores="rm").losses(pair(h, gap))
    torch.testing.assert_close(here.loss, there.loss, rtol=1e-7, atol=1e-9)


def test_what_it_asks_for_and_refuses():
    assert SmPO().score_columns() == {}
    assert SmPO(scores="rm").score_columns()["gap"].signed
    assert set(SmPO().refused()) == {"margin", "two prompts"}
    assert set(SmPO(scores="rm").refused()) == {"margin", "two prompts", "soft label"}
    with pytest.raises(ValueError, match="needs to know how sure"):
        SmPO(soft_labels=False)
    with pytest.raises(ValueError, match="span"):
        SmPO(scores="rm", span=0)
