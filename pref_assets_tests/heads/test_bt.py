from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.heads import Bt
from pref_assets.heads.base import Fitted, side_vectors
from pref_assets.heads.network import Mlp
from pref_assets.pairs.schema import COMPLETIONS
from pref_assets.pool import Pool
from pref_assets.scoring.base import pair_scores
from pref_assets.scoring.logistic import fit_heads
from pref_assets_tests.scoring.toy import linear_pairs

NETWORK = Mlp(hidden=(16,))


def world(n: int = 600, flips: float = 0.1, **columns: Any) -> tuple[Pool, pl.DataFrame]:
    pairs, vectors, _ = linear_pairs(n, 6, flips, seed=3, held_out=300)
    pairs = pairs.with_columns(**columns)
    margins = pair_scores(pairs.select("pair_id", score=pl.lit(0.75)))
    pool = Pool(pairs, COMPLETIONS.empty(), embeddings={"e": vectors}, scores={"m": margins})
    return pool, pool.candidates()


def weights(head: Fitted) -> np.ndarray:
    return head.arrays()["weights"]


def fitted(pool: Pool, train: pl.DataFrame, **settings: Any) -> Fitted:
    return Bt(embeddings="e", **settings).fit(pool, train)


@pytest.mark.parametrize("network", [None, NETWORK])
def test_held_out_pairs_are_told_apart(network: Mlp | None) -> None:
    pool, train = world(n=2000, flips=0.0)
    margin = fitted(pool, train, network=network).predict(pool, pool.pairs.filter(split="test")).margin
    assert (margin > 0).mean() > 0.93


def test_soft_labels_are_those_of_a_weighted_logistic_regression() -> None:
    pool, train = world(p_chosen=0.8)
    chosen, rejected = side_vectors(pool, "e", train)
    n = len(train)
    expected = fit_heads(chosen - rejected, np.full(n, 0.8), np.ones((n, 1)), 1.0)[:, 0]
    np.testing.assert_allclose(weights(fitted(pool, train)), expected, atol=1e-6)
    hard = fit_heads(chosen - rejected, np.ones(n), np.ones((n, 1)), 1.0)[:, 0]
    np.testing.assert_allclose(weights(fitted(pool, train, soft_labels=False)), hard, atol=1e-6)
    smooth = fitted(pool, train, soft_labels=False, smoothing=0.2)
    np.testing.assert_allclose(weights(smooth), expected, atol=1e-6)


def test_strength_scales_losses_as_row_weights_do() -> None:
    strength = pl.int_range(pl.len()) % 3 + 1
    pool, train = world(strength=strength.cast(pl.Float64))
    chosen, rejected = side_vectors(pool, "e", train)
    rows = train["strength"].to_numpy()[:, None]
    expected = fit_heads(chosen - rejected, np.ones(len(train)), rows, 1.0)[:, 0]
    np.testing.assert_allclose(weights(fitted(pool, train, loss="scaled")), expected, atol=1e-6)


def test_margins_of_strength_and_of_scores_are_the_same_loss() -> None:
    pool, train = world(strength=0.75)
    by_strength = weights(fitted(pool, train, loss="margin"))
    by_scores = weights(fitted(pool, train, loss="adaptive_margin", margins="m"))
    np.testing.assert_array_equal(by_strength, by_scores)
    assert np.linalg.norm(by_strength) > np.linalg.norm(weights(fitted(pool, train)))


def test_no_margin_is_the_plain_loss() -> None:
    pool, train = world(strength=0.0)
    margin, plain = (weights(fitted(pool, train, loss=loss)) for loss in ("margin", "plain"))
    np.testing.assert_allclose(margin, plain, atol=1e-9)


def test_a_small_threshold_of_ties_is_the_plain_loss() -> None:
    pool, train = world()
    ties = weights(fitted(pool, train, loss="rao_kupper", tie_threshold=1e-9))
    np.testing.assert_allclose(ties, weights(fitted(pool, train)), atol=1e-6)


def test_centring_brings_rewards_nearer_to_zero() -> None:
    pool, train = world()
    free, centred = (fitted(pool, train, center=c).predict(pool, train) for c in (0.0, 1.0))
    assert free.score_chosen is not None
    assert free.score_rejected is not None
    assert centred.score_chosen is not None
    assert centred.score_rejected is not None
    sums = [np.square(each.score_chosen + each.score_rejected).sum() for each in (free, centred)]
    assert sums[1] < sums[0]


@pytest.mark.parametrize("network", [None, NETWORK])
def test_swapping_the_sides_turns_the_sign(network: Mlp | None) -> None:
    pool, train = world()
    swapped = train.rename({"chosen_id": "rejected_id", "rejected_id": "chosen_id"})
    head = fitted(pool, train, network=network)
    np.testing.assert_allclose(head.predict(pool, swapped).margin, -head.predict(pool, train).margin)


def test_a_network_has_mean_reward_zero_and_a_seed() -> None:
    pool, train = world()
    first, again, other = (fitted(pool, train, network=NETWORK, seed=seed).predict(pool, train) for seed in (1, 1, 2))
    assert first.score_chosen is not None
    assert first.score_rejected is not None
    assert abs(np.concatenate([first.score_chosen, first.score_rejected]).mean()) < 1e-9
    np.testing.assert_array_equal(first.margin, again.margin)
    assert np.abs(first.margin - other.margin).max() > 1e-3


@pytest.mark.parametrize("loss", ["margin", "scaled"])
def test_pairs_without_strength_are_named(loss: str) -> None:
    pool, train = world()
    with pytest.raises(ValueError, match=r"600 of 600 pairs have no strength, e\.g\. .*p00000"):
        fitted(pool, train, loss=loss)


def test_negative_strength_cannot_scale() -> None:
    pool, train = world(strength=-1.0)
    with pytest.raises(ValueError, match="600 pairs have a negative strength"):
        fitted(pool, train, loss="scaled")


@pytest.mark.parametrize("settings", [{"loss": "adaptive_margin"}, {"margins": "m"}])
def test_margins_go_with_their_loss(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="`margins` names the scores"):
        Bt(embeddings="e", **settings)
