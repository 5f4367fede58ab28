import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring import InfluenceModel, OneStepInfluence
from pref_assets.scoring.gradients.influence_model import spearman, z_scores
from pref_assets_tests.scoring.gradients.pools import linear_pool
from pref_assets_tests.selection.invariants import shuffled

PROBE = OneStepInfluence(reward_model="rm")


def _details(scores: pl.DataFrame, name: str) -> pl.Series:
    return Pool(scores, scores, {"it": scores}).value("it", name)["value"]


def test_a_few_probes_predict_the_influence_of_all() -> None:
    pool, _ = linear_pool(2000, 16, trusted=300)
    scores = InfluenceModel(probe=PROBE, probes=500).score(pool)
    truth = PROBE.score(pool)
    assert scores.schema == PAIR_SCORES.schema
    unprobed = scores.with_columns(truth=truth["score"]).filter(pl.col("category") == "predicted")
    assert len(unprobed) == 1500
    agreement = spearman(unprobed["score"].to_numpy(), unprobed["truth"].to_numpy()) or 0
    assert agreement > 0.85
    reported = _details(scores, "held_out_spearman").drop_nulls().unique()
    assert len(reported) == 1
    assert abs(reported[0] - agreement) < 0.1  # measured on 50 probes that the model did not see


def test_probes_are_z_scores_of_a_seeded_sample() -> None:
    pool, _ = linear_pool(200, 4, trusted=20, held_out=10)
    scores = InfluenceModel(probe=PROBE, probes=50).score(pool)
    assert dict(scores["category"].value_counts().iter_rows()) == {
        "probed": 50,
        "predicted": 150,
        "reference": 20,
        "held_out": 10,
    }
    probes = _details(scores, "probe")
    measured = scores.with_columns(probe=probes, truth=PROBE.score(pool)["score"]).drop_nulls("probe")
    assert set(measured["category"]) == {"probed"}
    np.testing.assert_allclose(measured["probe"], z_scores(measured["truth"].to_numpy()), atol=1e-8)
    other = InfluenceModel(probe=PROBE, probes=50, seed=1).score(pool)
    assert (other["category"] != scores["category"]).any()
    assert_frame_equal(InfluenceModel(probe=PROBE, probes=50).score(shuffled(pool, 1)), scores)


def test_the_regressor_solves_the_ridge_equations_of_distinct_probes() -> None:
    pool, _ = linear_pool(200, 4, trusted=20)
    method = InfluenceModel(probe=PROBE, probes=50, held_out_share=0.2)
    train = pool.candidates()
    probed = method._probed(train)
    assert len(probed) == len(set(probed)) == 50
    features = method._features(pool, train[probed])
    target = np.arange(50.0)
    first = method._fit(features[10:], target[10:])
    expected = np.linalg.solve(
        features[10:].T @ features[10:] / 40 + 0.1 * np.eye(8), features[10:].T @ (target[10:] - 29.5) / 40
    )
    np.testing.assert_allclose(first, expected)


def test_ranks_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 40).astype(float), rng.normal(size=40)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(a, np.ones(40)) is None
    np.testing.assert_array_equal(z_scores(np.full(5, 3.0)), np.zeros(5))


def test_too_few_pairs_for_the_probes_is_an_error() -> None:
    pool, _ = linear_pool(40, 4, trusted=20)
    with pytest.raises(ValueError, match="50 probes, but only 40 train pairs"):
        InfluenceModel(probe=PROBE, probes=50).score(pool)
    with pytest.raises(ValueError, match="at least 3"):
        InfluenceModel(probe=PROBE, probes=20).score(pool)


def test_the_nested_probe_names_the_reward_model() -> None:
    named = [(each.path, each.stage, each.name) for each in InfluenceModel(probe=PROBE).references()]
    assert named == [(("probe", "reward_model"), "reward_models", "rm")]
