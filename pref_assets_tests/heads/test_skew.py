"""Skew-symmetric scores: the circle of the paper, laws, and the closed-form embedding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pref_assets.heads.skew import (
    curl_share,
    cyclic_share,
    mean_scores,
    skew_embedding,
    skew_matrix,
    skew_scores,
)

CIRCLE = np.array([[np.cos(a), np.sin(a)] for a in np.radians([0, 120, 240])])
FLOATS = st.floats(-10, 10)


def test_three_vectors_on_a_circle_beat_one_another() -> None:
    scores = skew_scores(CIRCLE, np.roll(CIRCLE, -1, axis=0))
    assert scores == pytest.approx([0.8660254] * 3, abs=1e-6)
    assert np.logaddexp(0, -scores[0]) == pytest.approx(0.351093, abs=1e-6)
    assert np.logaddexp(0, -scores[0] / 0.1) == pytest.approx(1.733e-4, abs=1e-7)
    assert 1 / (1 + np.exp(-scores[0] / 0.1)) == pytest.approx(0.999827, abs=1e-6)


def test_a_circle_is_all_curl_and_a_reward_has_none() -> None:
    circle = skew_matrix(CIRCLE)
    assert (cyclic_share(circle), curl_share(circle)) == (1.0, pytest.approx(1.0))
    assert mean_scores(circle) == pytest.approx([0, 0, 0])
    reward = np.array([3.0, -1.0, 0.5, 2.0])
    ordered = reward[:, None] - reward[None, :]
    assert (cyclic_share(ordered), curl_share(ordered)) == (0.0, pytest.approx(0.0, abs=1e-12))
    assert mean_scores(ordered) == pytest.approx(reward - reward.mean())


def test_four_responses_by_hand() -> None:
    # 0 > 1 > 2 > 0 is a circle; 3 loses to all, so none of its three triples is one.
    scores = np.array([[0, 1, -1, 1], [-1, 0, 1, 1], [1, -1, 0, 1], [-1, -1, -1, 0.0]])
    assert cyclic_share(scores) == pytest.approx(1 / 4)
    # Row means .25, .25, .25, -.75: the pairs with 3 are explained, the circle is not. 6 of 12 squares remain.
    assert curl_share(scores) == pytest.approx(0.5)


@given(arrays(np.float64, (5, 6), elements=FLOATS), arrays(np.float64, (3,), elements=st.floats(0, 5)))
def test_scores_are_skew_and_agree_with_the_matrix(vectors: np.ndarray, gate: np.ndarray) -> None:
    matrix = skew_matrix(vectors, gate)
    assert matrix == pytest.approx(-matrix.T)
    assert np.diag(matrix) == pytest.approx(0, abs=1e-9)
    for row in range(5):
        assert skew_scores(vectors, np.roll(vectors, -row, axis=0), gate) == pytest.approx(
            matrix[np.arange(5), (np.arange(5) + row) % 5], abs=1e-9
        )


@pytest.mark.parametrize("size", [2, 5, 6, 9])
def test_every_skew_matrix_has_an_embedding(size: int) -> None:
    draw = np.random.default_rng(size).normal(size=(size, size))
    scores = draw - draw.T
    assert np.abs(skew_matrix(skew_embedding(scores)) - scores).max() < 1e-9


def test_a_matrix_that_is_not_skew_is_refused() -> None:
    with pytest.raises(ValueError, match="not skew-symmetric"):
        skew_embedding(np.ones((2, 2)))


def test_two_dimensions_with_the_second_at_one_are_a_reward() -> None:
    reward = np.random.default_rng(0).normal(size=7)
    vectors = np.stack([reward, np.ones(7)], axis=1)
    assert np.array_equal(skew_matrix(vectors), reward[:, None] - reward[None, :])
