import numpy as np
import polars as pl
import pytest

from pref_assets.selection import Mates
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool, selected

LOSSES = [0.0, 1.0, 2.0, 3.0]
FIRST = [0.644, 0.237, 0.087, 0.032]
"""The card's oracle: softmax of -[0, 1, 2, 3]. (Noise added to the loss gives .698, .244, .052, .006.)"""
DRAWS = 10_000


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_first_picks_are_a_softmax_of_the_influence(better: str) -> None:
    influence = np.array(LOSSES if better == "lower" else [-loss for loss in LOSSES])
    ids = [f"p{row:03}" for row in range(4)]
    method = Mates(scores="strength", budget=1, standardized=False, better=better)
    seeded = (method.model_copy(update={"seed": seed}) for seed in range(DRAWS))
    first = [ids[int(each.keys(ids, influence).argmax())] for each in seeded]
    assert selected(method.select(make_pool(influence.tolist())))[0] == first[0]
    for row, p in enumerate(FIRST):
        assert first.count(f"p{row:03}") / DRAWS == pytest.approx(p, abs=3 * np.sqrt(p * (1 - p) / DRAWS))


def test_temperature_goes_from_the_top_to_a_random_sample() -> None:
    scores = np.random.default_rng(0).normal(size=200).tolist()
    pool = make_pool(scores)
    means = [
        pool.scores["strength"]
        .join(Mates(scores="strength", budget=50, temperature=t).select(pool).filter("selected"), on="pair_id")["score"]
        .mean()
        for t in (1e-6, 1.0, 1e6)
    ]
    assert means[0] == pytest.approx(np.sort(scores)[-50:].mean())
    assert means[0] > means[1] > means[2]  # type: ignore[operator]


def test_z_scores_make_the_unit_of_influence_irrelevant() -> None:
    scores = np.random.default_rng(1).normal(size=60)
    method = Mates(scores="strength", budget=20)
    picks = selected(method.select(make_pool(scores.tolist())))
    assert selected(method.select(make_pool((1e-6 * scores + 3).tolist()))) == picks
    raw = method.model_copy(update={"standardized": False})
    assert selected(raw.select(make_pool((1e-6 * scores).tolist()))) != picks


@pytest.mark.parametrize("budget", [7, "30%", 1.0])
@pytest.mark.parametrize("scores", [[1.0] * 12, list(np.linspace(-1, 1, 23))], ids=["constant", "line"])
def test_promises(scores: list[float], budget: float | str) -> None:
    decisions = assert_promises(Mates(scores="strength", budget=budget, seed=2), make_pool(scores, held_out=4))
    kept = decisions.filter("selected")
    assert set(kept["reason"]) == {"selected: drawn, influence counts"}
    candidates = decisions.filter(pl.col("reason") != "held_out")
    np.testing.assert_allclose(candidates["score"], scores)


def test_bad_scores_and_budgets_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 3 train pairs have no usable 'score'"):
        Mates(scores="strength", budget=1).select(make_pool([1.0, float("nan"), 2.0], p_correct=[0.5] * 3))
    with pytest.raises(ValueError, match="budget of 4 pairs"):
        Mates(scores="strength", budget=4).select(make_pool([1.0, 2.0, 3.0]))
