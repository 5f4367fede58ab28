from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.heads import RegressionMulti, ScaledBt
from pref_assets.heads.network import Mlp
from pref_assets.heads.ratings import rated_completions
from pref_assets.heads.regression import STEERLM, goodness
from pref_assets.training.objectives.reward import extrapolated
from pref_assets_tests.heads.rated import rated_pool, unrated

DIMENSIONS = list(STEERLM)


def test_goodness_of_the_model_card_weights() -> None:
    attributes = np.array([[4, 4, 4, 2, 2]], dtype=np.float64)
    assert goodness(attributes, STEERLM)[0] == pytest.approx(7.9)


@pytest.mark.parametrize("network", [None, Mlp(hidden=(32,))])
def test_planted_attributes_are_recovered(network: Mlp | None) -> None:
    pool, planted = rated_pool(1250, DIMENSIONS)
    head = RegressionMulti(embeddings="e", network=network).fit(pool, pool.candidates())
    test = pool.pairs.filter(split="test")
    chosen, rejected = head.attributes(pool, test)
    wanted = pool.embeddings["e"].rows(test["chosen_id"].to_list()) @ planted
    errors = np.square(chosen - wanted).mean(axis=0) / wanted.var(axis=0)
    assert (errors < (0.01 if network is None else 0.05)).all()
    said = head.predict(pool, test)
    np.testing.assert_allclose(said.margin, goodness(chosen - rejected, STEERLM), atol=1e-9)
    np.testing.assert_array_equal(said.details["verbosity_rejected"], rejected[:, 4])


def test_a_missing_attribute_is_left_out_and_not_zero() -> None:
    pool, planted = rated_pool(500, DIMENSIONS[:2], noise=0.0)
    half = pool.completions["completion_id"].to_list()[::2]
    partly = replace(pool, completions=unrated(pool, DIMENSIONS[0], half))
    config = RegressionMulti(embeddings="e", weights=dict.fromkeys(DIMENSIONS[:2], 1.0), l2=1e-6)
    head = config.fit(partly, partly.candidates())
    np.testing.assert_allclose(head.network.matrices[0], planted, atol=1e-4)


def test_an_attribute_that_nobody_rated_is_an_error() -> None:
    pool, _ = rated_pool(20, ["helpfulness"])
    with pytest.raises(ValueError, match=r"has ratings of 'correctness', .*; rated dimensions: 'helpfulness'"):
        RegressionMulti(embeddings="e").fit(pool, pool.candidates())


def test_ratings_of_other_completions_teach_nothing() -> None:
    pool, _ = rated_pool(100, DIMENSIONS)
    train = pool.candidates()
    rated = rated_completions(pool, train.head(10), DIMENSIONS)
    assert set(rated.ids) == {*train.head(10)["chosen_id"], *train.head(10)["rejected_id"]}


def test_raters_are_averaged() -> None:
    pool, _ = rated_pool(5, ["a"], noise=1.0, raters=4)
    rated = rated_completions(pool, pool.pairs, ["a"])
    (row,) = pool.completions.filter(completion_id=rated.ids[3])["ratings"].to_list()
    assert rated.values[3, 0] == pytest.approx(np.mean([each["value"] for each in row]))


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": float("nan")}])
def test_weights_must_weigh(weights: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RegressionMulti(embeddings="e", weights=weights)


def test_extrapolation_by_nothing_is_the_end() -> None:
    start, end = np.array([1.0, 2.0]), np.array([3.0, -1.0])
    np.testing.assert_array_equal(extrapolated(start, end, 0.0), end)
    np.testing.assert_array_equal(extrapolated(start, end, 0.5), [4.0, -2.5])


def test_a_strong_pull_leaves_the_regression_as_it_is() -> None:
    pool, planted = rated_pool(400, ["helpfulness"], noise=0.01)
    head = ScaledBt(embeddings="e", pull=1e9, alphas=(0.0,)).fit(pool, pool.candidates())
    np.testing.assert_allclose(head.end, head.start, atol=1e-4)
    np.testing.assert_allclose(head.start, planted[:, 0], atol=0.02)


def test_the_second_fit_starts_at_the_first_and_the_best_alpha_is_kept() -> None:
    pool, _ = rated_pool(400, ["helpfulness"], noise=1.0)
    config = ScaledBt(embeddings="e", alphas=(0.5, 0.0))
    head = config.fit(pool, pool.candidates())
    assert head.alpha in (0.0, 0.5)
    assert np.linalg.norm(head.end - head.start) > 0.1
    test = pool.pairs.filter(split="test")
    assert (head.predict(pool, test).margin > 0).mean() > 0.9
    again = config.restore(head.arrays()).predict(pool, test)
    np.testing.assert_array_equal(again.margin, head.predict(pool, test).margin)


def test_equally_good_alphas_give_the_smallest() -> None:
    """Without noise every margin of the held-out prompts is right, whatever alpha is."""
    pool, _ = rated_pool(400, ["helpfulness"], noise=0.0)
    train = pool.candidates().filter(pl.col("strength") == 3)
    assert ScaledBt(embeddings="e", alphas=(1.0, 0.25)).fit(pool, train).alpha == 0.25


def test_scaled_needs_strengths() -> None:
    pool, _ = rated_pool(20, ["helpfulness"])
    with pytest.raises(ValueError, match="have no strength"):
        ScaledBt(embeddings="e").fit(pool, pool.candidates().with_columns(strength=pl.lit(None, pl.Float64)))
