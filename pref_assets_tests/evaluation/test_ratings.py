"""Bradley-Terry ratings: closed forms, symmetries, coverage, scikit-learn."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.evaluation.arena import Arena
from pref_assets.evaluation.base import Inputs
from pref_assets.evaluation.heldout import NothingHeldOutError
from pref_assets.evaluation.ratings import SCALE, Matches, NoRatingError, fit_ratings, ratings
from pref_assets.home import Home


def table(**wins):
    """Players a, b, c; ``ab=3`` is three wins of a over b."""
    found = np.zeros((3, 3))
    for pair, times in wins.items():
        found["abc".index(pair[0]), "abc".index(pair[1])] = times
    return found


def gap(wins, l2=0.0):
    w = SCALE * fit_ratings(wins[None, :2, :2], l2)[0]
    return w[0] - w[1]


def test_three_to_one_is_191_points():
    assert gap(table(ab=3, ba=1)) == pytest.approx(400 * np.log10(3))
    assert 400 * np.log10(3) == pytest.approx(190.85, abs=5e-3)
    assert 0 < gap(table(ab=3, ba=1), l2=1.0) < 190.85
    assert gap(table(ab=0.5, ba=0.5), l2=1.0) == 0.0


def test_the_fit_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    wins = table(ab=7, ba=2, bc=5, cb=3, ac=1, ca=4.5)
    rows, labels, weights = [], [], []
    for i in range(3):
        for j in range(3):
            if wins[i, j]:
                rows.append(np.eye(3)[i] - np.eye(3)[j])
                labels.append(1)
                weights.append(wins[i, j])
                rows.append(-rows[-1])
                labels.append(0)
                weights.append(wins[i, j])
    # Each match stands twice, once from each side, so that scikit-learn sees two classes: hence C = 1 / 2.
    model = LogisticRegression(fit_intercept=False, C=0.5, tol=1e-12, max_iter=10_000)
    model.fit(np.array(rows), labels, sample_weight=weights)
    assert fit_ratings(wins[None], 1.0)[0] == pytest.approx(model.coef_[0], abs=1e-6)


@given(st.lists(st.integers(0, 20), min_size=6, max_size=6))
def test_swapping_every_result_negates(counts):
    wins = table(**dict(zip(("ab", "ba", "ac", "ca", "bc", "cb"), counts, strict=True)))
    ours, theirs = fit_ratings(np.stack([wins, wins.T]), 0.5)
    assert ours == pytest.approx(-theirs, abs=1e-7)
    assert ours.mean() == pytest.approx(0.0, abs=1e-12)


def test_without_a_penalty_a_player_must_have_lost():
    with pytest.raises(NoRatingError, match="l2 above 0"):
        gap(table(ab=3))
    with pytest.raises(NoRatingError):
        fit_ratings(table(ab=1, ba=1)[None], 0.0)  # c never played


def test_intervals_cover_the_truth():
    truth = np.array([0.6, 0.0, -0.6])
    covered = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        first = generator.integers(3, size=300)
        second = (first + generator.integers(1, 3, size=300)) % 3
        p = 1 / (1 + np.exp(truth[second] - truth[first]))
        outcome = (generator.random(300) < p).astype(float)
        found = ratings(Matches("abc", first, second, outcome, np.arange(300)), 0.0, seed, 100)
        assert np.mean([each.value for each in found]) == pytest.approx(1000)
        covered += sum(each.lo <= 1000 + SCALE * t <= each.hi for each, t in zip(found, truth, strict=True))
    assert 0.91 <= covered / 300 <= 0.985


@pytest.fixture
def arena(inputs):
    models = {"a1": "x", "a2": "y", "b1": "x", "b2": "y", "b3": "x", "c1": "z", "c2": None}
    column = inputs.completions["completion_id"].replace_strict(models, default=None, return_dtype=pl.String)
    return Inputs(inputs.pairs, inputs.prompts, inputs.completions.with_columns(model=column))


def test_models_of_the_data_are_rated(arena, tmp_path):
    # p1, p2: x beats y. p3: three quarters of the votes for x. p4: x against itself. p5, p6: z against nobody known.
    config = Arena(min_matches=1, resamples=100)
    rows = config.rows(arena, Home(tmp_path))
    values = dict(rows.select("checkpoint", "value").iter_rows())
    expected = SCALE * fit_ratings(np.array([[[0, 2.75], [0.25, 0]]]), 1.0)[0] + 1000
    assert values == {"x": pytest.approx(expected[0]), "y": pytest.approx(expected[1])}
    assert rows["n"].to_list() == [3, 3]
    assert rows["baseline"].all()
    assert Arena(resamples=100).rows(arena, Home(tmp_path)).is_empty()
    assert config.names() == []


def test_data_without_models_is_an_error(inputs, tmp_path):
    with pytest.raises(NothingHeldOutError, match="two different known models"):
        Arena().rows(inputs, Home(tmp_path))
