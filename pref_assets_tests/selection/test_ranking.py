"""Hand-worked numbers of top_k, band, threshold and gumbel_top_k."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pref_assets.selection import Band, GumbelTopK, Threshold, TopK, TopMargin
from pref_assets.selection.gumbel_top_k import gumbel_keys
from pref_assets_tests.selection.pools import make_pool, selected

SCORES = [3.0, -1.0, 2.0, 0.5, 7.0]


def test_top_k_is_top_margin_on_the_margin() -> None:
    pool = make_pool(SCORES, held_out=1)
    margin = TopMargin(scores="strength", budget=2, seed=3).select(pool)
    ours = TopK(scores="strength", budget=2, seed=3).select(pool)
    assert ours.drop("reason").equals(margin.drop("reason"))
    assert ours["reason"][2] == "below_cut: the cut is 3.0"


def test_the_lowest_first() -> None:
    decisions = TopK(scores="strength", budget=2, ascending=True).select(make_pool(SCORES))
    assert selected(decisions) == ["p001", "p003"]
    assert decisions["score"].to_list() == SCORES
    assert decisions["reason"][0] == "above_cut: the cut is 0.5"


def test_pairs_without_a_score_are_refused_or_come_last() -> None:
    scores = [3.0, None, 2.0, float("nan"), 7.0]
    pool = make_pool([0.0 if each is None else each for each in scores])
    gaps = pool.scores["strength"].with_columns(score=pl.Series(scores, dtype=pl.Float64))
    pool = replace(pool, scores={"strength": gaps})
    with pytest.raises(ValueError, match="2 of 5 train pairs have no usable 'score'"):
        TopK(scores="strength", budget=2).select(pool)
    for ascending, best in ((False, ["p004", "p000", "p002"]), (True, ["p002", "p000", "p004"])):
        decisions = TopK(scores="strength", budget=4, ascending=ascending, missing="last").select(pool)
        assert selected(decisions)[:3] == best
        assert len(selected(decisions)) == 4
        reasons = decisions.filter(pl.col("pair_id").is_in(["p001", "p003"])).sort("rank")["reason"].to_list()
        assert reasons == ["selected: without score, to fill the budget", "unscored: no score"]


def test_a_number_of_the_pairs_themselves() -> None:
    pool = make_pool(SCORES)
    pairs = pool.pairs.with_columns(strength=pl.Series([1.0, 2.0, 5.0, 4.0, 3.0]))
    pool = type(pool)(pairs, pool.completions)
    assert selected(TopK(column="strength", budget=2).select(pool)) == ["p002", "p003"]
    assert sorted(selected(Threshold(column="strength", min=3).select(pool))) == ["p002", "p003", "p004"]
    with pytest.raises(ValueError, match="pairs have no number 'score', only p_chosen, strength"):
        TopK(budget=1).select(pool)
    unknown = type(pool)(pairs.with_columns(strength=pl.lit(None, pl.Float64)), pool.completions)
    with pytest.raises(ValueError, match=r"5 of 5 train pairs have no usable 'strength', e\.g\. \['p000'"):
        TopK(column="strength", budget=1).select(unknown)


def test_the_band_holds_its_share_of_places() -> None:
    pool = make_pool([float(value) for value in range(10)])  # at percentiles 5, 15, …, 95
    inner = Band(scores="strength", low=0.2, high=0.5, budget=3).select(pool)
    assert sorted(selected(inner)) == ["p002", "p003", "p004"]
    assert inner["reason"][1] == "below_band: percentile 15.0"
    assert inner["reason"][5] == "above_band: percentile 55.0"
    assert inner["reason"][3] == "selected: percentile 35.0"
    ordered = Band(scores="strength", low=0.2, high=0.7, budget=3, within="centre_out").select(pool)
    assert selected(ordered)[0] == "p004"
    assert set(selected(ordered)) == {"p003", "p004", "p005"}
    everything = Band(scores="strength", low=0, high=1, budget=10).select(pool)
    assert len(selected(everything)) == 10


def test_a_band_that_is_too_narrow_is_an_error() -> None:
    pool = make_pool([float(value) for value in range(10)])
    with pytest.raises(ValueError, match=r"band: budget of 4 pairs, but only 3 of 10 .* percentile in \[0\.2, 0\.5\)"):
        Band(scores="strength", low=0.2, high=0.5, budget=4).select(pool)


def test_limits_are_inclusive() -> None:
    pool = make_pool(SCORES)
    decisions = Threshold(scores="strength", min=0.5, max=3).select(pool)
    assert sorted(selected(decisions)) == ["p000", "p002", "p003"]
    assert decisions["reason"].to_list() == [
        "selected: score 3.0",
        "below_min: -1.0 is below 0.5",
        "selected: score 2.0",
        "selected: score 0.5",
        "above_max: 7.0 is above 3",
    ]


def test_a_budget_draws_from_what_passes_and_too_few_are_an_error() -> None:
    pool = make_pool(SCORES)
    drawn = {tuple(selected(Threshold(scores="strength", min=0, budget="40%", seed=s).select(pool))) for s in range(9)}
    assert all(len(each) == 2 and "p001" not in each for each in drawn)
    assert len(drawn) > 3
    with pytest.raises(ValueError, match=r"threshold: budget of 5 pairs, but only 4 of 5 .* score in \[0, inf\]"):
        Threshold(scores="strength", min=0, budget=5).select(pool)


def test_nothing_passes() -> None:
    assert selected(Threshold(scores="strength", min=100).select(make_pool(SCORES))) == []


def first_picks(draws: int, **settings: Any) -> np.ndarray:
    """How often each of four pairs with scores 0, 1, 2, 3 is drawn first, (4,)."""
    pool = make_pool([0.0, 1.0, 2.0, 3.0])
    found = (GumbelTopK(scores="strength", budget=1, seed=seed, **settings).select(pool) for seed in range(draws))
    return np.bincount([int(selected(each)[0][1:]) for each in found], minlength=4) / draws


def within_three_sigma(shares: np.ndarray, expected: np.ndarray, draws: int) -> bool:
    return bool((np.abs(shares - expected) <= 3 * np.sqrt(expected * (1 - expected) / draws)).all())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ascending": True}, [0.6439, 0.2369, 0.0871, 0.0321]),  # MATES' oracle: softmax(-s)
        ({}, [0.0321, 0.0871, 0.2369, 0.6439]),
        ({"temperature": 2.0}, [0.1015, 0.1674, 0.2760, 0.4551]),
    ],
)
def test_the_first_pick_is_a_softmax_sample(settings: dict[str, Any], expected: list[float]) -> None:
    assert within_three_sigma(first_picks(200, **settings), np.array(expected), 200)


def test_keys_are_softmax_samples_and_not_the_repositorys_rule() -> None:
    """By the keys alone, with enough draws to tell softmax(-s) from adding noise to s and taking the smallest."""
    scores, draws = np.arange(4.0), 5_000
    ids = [f"p{i}" for i in range(4)]
    keys = np.stack([gumbel_keys(ids, -scores, 1.0, seed) for seed in range(draws)])
    ours = np.bincount(keys.argmax(axis=1), minlength=4) / draws
    theirs = np.bincount((2 * scores + keys).argmin(axis=1), minlength=4) / draws  # s + noise, of the same noise
    softmax = np.exp(-scores) / np.exp(-scores).sum()
    assert within_three_sigma(ours, softmax, draws)
    assert within_three_sigma(theirs, np.array([0.698, 0.244, 0.052, 0.006]), draws)
    assert not within_three_sigma(theirs, softmax, draws)


def test_weights_one_to_four_are_drawn_first_in_proportion() -> None:
    """DSIR's oracle."""
    logits, draws = np.log(np.arange(1.0, 5.0)), 5_000
    keys = np.stack([gumbel_keys([f"p{i}" for i in range(4)], logits, 1.0, seed) for seed in range(draws)])
    shares = np.bincount(keys.argmax(axis=1), minlength=4) / draws
    assert within_three_sigma(shares, np.array([0.1, 0.2, 0.3, 0.4]), draws)


def test_a_small_temperature_is_top_k_and_budgets_nest() -> None:
    pool = make_pool(np.random.default_rng(0).normal(size=50).tolist())
    cold = GumbelTopK(scores="strength", budget=10, temperature=1e-9).select(pool)
    assert selected(cold) == selected(TopK(scores="strength", budget=10).select(pool))
    small, large = (selected(GumbelTopK(scores="strength", budget=size).select(pool)) for size in (5, 15))
    assert large[:5] == small
