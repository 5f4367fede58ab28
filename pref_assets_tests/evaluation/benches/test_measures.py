"""Each bench's own formula on numbers small enough to check by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.evaluation.benches.measures import (
    COUNTS,
    SECTIONS,
    Spread,
    beats,
    best_of,
    levels,
    spread,
    ties_score,
)


def test_the_weights_of_reward_bench():
    assert set(COUNTS) == {subset for subsets in SECTIONS.values() for subset in subsets}
    assert {section: sum(COUNTS[s] for s in subsets) for section, subsets in SECTIONS.items()} == {
        "Chat": 358,
        "Chat Hard": 456,
        "Safety": 740,
        "Reasoning": 1968,
    }
    assert COUNTS["math-prm"] == sum(COUNTS[s] for s in SECTIONS["Reasoning"] if s.startswith("hep-"))


@pytest.mark.parametrize(
    ("scores", "right", "value"),
    [
        ([2.0, 1.0, 1.0, 0.0], 1, 1.0),
        ([1.0, 2.0, 1.0, 0.0], 1, 0.0),
        ([2.0, 2.0, 1.0, 0.0], 1, 0.5),
        ([1.0, 1.0, 1.0, 1.0], 1, 0.25),
        ([0.0, 3.0, 1.0, 2.0], 2, 1.0),
    ],
)
def test_a_shared_first_place_is_shared(scores, right, value):
    assert best_of(np.array(scores), right) == value


def test_ties_by_hand():
    # Question 1: right 3, 2.5, wrong 1 -> within .5, above 1.5; its reference: 4 over 1, above 3.
    # Question 2: right 3, 1, wrong 2 -> within 2, above -1; its reference: 1 over .5, above .5.
    tied = [spread(np.array([3, 2.5]), np.array([1.0])), spread(np.array([3.0, 1.0]), np.array([2.0, 0.0]))]
    reference = [Spread(0.0, 3.0), Spread(0.0, 0.5)]
    assert tied == [Spread(0.5, 1.5), Spread(2.0, -1.0)]
    score = ties_score(tied, reference)
    assert (score.tied, score.reference, score.preferred, score.preferred_hard) == (0.5, 1.0, 0.5, 0.5)
    assert score.margin == pytest.approx((math.tanh(1.5 / 0.5 - 1) + math.tanh(-1.0 / 2.0 - 1)) / 2)
    assert score.overall == pytest.approx(0.3 * 1.5 + 0.2 * 1.0 + 0.01 * score.margin)


def test_ties_without_spread_or_without_a_half():
    # 0/0 counts nothing, a distance over no spread counts 1; a question without its reference counts for `tied` alone.
    none, far = Spread(0.0, 0.0), Spread(0.0, 2.0)
    assert ties_score([none], [none]).overall == 0.0
    assert ties_score([far], [far]).overall == pytest.approx(1.01)
    alone = ties_score([far, far], [None, none])
    assert (alone.tied, alone.reference, alone.preferred, alone.preferred_hard) == (1.0, 0.0, 1.0, 0.0)


def test_levels_of_a_style_matrix():
    # Three items of RM-Bench, scores in the order concise, detailed, markdown.
    chosen = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [0.0, 0.0, 0.0]])
    rejected = np.array([[0.5, 1.5, 2.5], [4.0, 6.0, 5.0], [0.0, -1.0, 1.0]])
    matrix = np.mean([beats(c, r, 0.0) for c, r in zip(chosen, rejected, strict=True)], axis=0)
    assert matrix * 3 == pytest.approx(np.array([[2, 1, 0], [2, 2, 0], [2, 2, 1]]))
    assert levels(matrix) == pytest.approx({"hard": 1 / 9, "normal": 5 / 9, "easy": 6 / 9, "average": (1 + 5 + 6) / 27})


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_swapping_the_sides_of_a_matrix_turns_it_around(chosen, rejected):
    ours, theirs = beats(np.array(chosen), np.array(rejected), 0.5), beats(np.array(rejected), np.array(chosen), 0.5)
    assert (ours + theirs.T == 1).all()
    assert levels(ours)["hard"] == pytest.approx(1 - levels(theirs)["easy"])
