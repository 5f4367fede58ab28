"""Margin matching: soft labels from gaps of scores."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.training.objectives import DPO, MMPO
from pref_assets_tests.training.objectives.laws import assert_same, loss_and_gradient
from pref_assets_tests.training.objectives.pairs import make_pairs

numbers = st.floats(-20, 20)


def pair(h, gap, **settings):
    return make_pairs(h, 0.0, columns={"gap": gap}, **settings)


@pytest.mark.parametrize(("gamma", "gap", "p"), [(0.3, 2, 0.645656), (2.2, 1, 0.900250), (1.1, 0.5, 0.634136)])
def test_labels_of_worked_gaps(gamma, gap, p):
    assert float(MMPO(scores="rm", gamma=gamma).losses(pair(1, gap)).values["p_target"]) == pytest.approx(p, abs=1e-6)


@given(st.floats(-5, 5), st.floats(0.1, 3), st.floats(0.01, 2))
def test_its_minimum_matches_the_margin(gap, gamma, beta):
    objective = MMPO(scores="rm", gamma=gamma, beta=beta)
    result, gradient, _ = loss_and_gradient(objective, pair(gamma * gap / beta, gap))
    assert float(gradient) == pytest.approx(0, abs=1e-8)
    p = 1 / (1 + math.exp(-gamma * gap))
    entropy = -sum(q * math.log(q) for q in (p, 1 - p) if q)
    assert float(result.loss) == pytest.approx(entropy, rel=1e-6, abs=1e-9)


@given(numbers, st.floats(0.1, 20))
def test_a_sharp_label_is_dpo_and_none_is_a_tie(h, gap):
    assert_same(MMPO(scores="rm", gamma=1000, beta=0.3), DPO(beta=0.3), pair(h, gap))
    assert_same(MMPO(scores="rm", gamma=0, beta=0.3), DPO(beta=0.3), pair(h, gap), pair(h, gap, p=0.5))


def test_no_gap_no_gradient_at_the_start():
    _, chosen, rejected = loss_and_gradient(MMPO(scores="rm"), pair(0.0, 0.0))
    assert float(chosen) == float(rejected) == 0


@given(numbers, numbers, st.floats(0, 1))
def test_the_score_is_the_label(h, gap, p):
    objective = MMPO(scores="rm")
    here, there = objective.losses(pair(h, gap, p=p)).loss, objective.losses(pair(-h, -gap, p=1 - p)).loss
    torch.testing.assert_close(here, there)


def test_what_it_asks_for_and_refuses():
    objective = MMPO(scores="rm", column="gap")
    asked = objective.score_columns()["gap"]
    assert (asked.scores, asked.column, asked.signed) == ("rm", "gap", True)
    assert set(objective.refused()) == {"margin", "two prompts", "soft label"}
    for settings in ({}, {"scores": "rm", "gamma": -1}, {"scores": "rm", "beta": 0}):
        with pytest.raises(ValueError, match=r"scores|gamma|beta"):
            MMPO(**settings)
