import numpy as np
import polars as pl
import pytest

from pref_assets.pool import Pool
from pref_assets.selection import Budget, Dsir
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool, selected


def too_short(pool: Pool, *ids: str) -> Pool:
    """The pool with these pairs marked as `dsir_weight` marks what is too short."""
    short = pl.col("pair_id").is_in(ids)
    table = pool.scores["strength"].with_columns(
        score=pl.when(~short).then("score"),
        category=pl.when(short).then(pl.lit("too_short")).otherwise(pl.lit("weighed")),
    )
    return Pool(pool.pairs, pool.completions, {"strength": table}, pool.embeddings)


@pytest.mark.parametrize("top_k", [True, False])
@pytest.mark.parametrize("budget", [1, 7, "50%", 1.0])
def test_promises(top_k: bool, budget: int | str | float) -> None:
    pool = make_pool(np.random.default_rng(0).normal(size=20).tolist(), held_out=3)
    assert_promises(Dsir(scores="strength", budget=budget, top_k=top_k, seed=3), pool)
    assert_promises(Dsir(scores="strength", budget=budget, top_k=top_k), make_pool([1.0] * 30))
    assert_promises(Dsir(scores="strength", budget=1, top_k=top_k), too_short(pool, "p003", "p004"))


def test_the_first_pick_is_proportional_to_the_weight() -> None:
    pool = make_pool(np.log([1, 2, 3, 4]).tolist())
    draws = 300
    picks = [selected(Dsir(scores="strength", budget=1, seed=seed).select(pool))[0] for seed in range(draws)]
    for place, share in enumerate((0.1, 0.2, 0.3, 0.4)):
        sigma = np.sqrt(share * (1 - share) / draws)
        assert picks.count(f"p{place:03}") / draws == pytest.approx(share, abs=3 * sigma)


def test_the_top_is_taken_without_noise() -> None:
    decisions = Dsir(scores="strength", budget=2, top_k=True).select(make_pool([0.1, 3.0, -2.0, 1.5]))
    assert selected(decisions) == ["p001", "p003"]
    assert decisions["score"].to_list() == [0.1, 3.0, -2.0, 1.5]
    assert decisions["reason"][2] == "below_cut: smaller weight"


def test_a_smaller_budget_is_a_subset_of_a_larger_one() -> None:
    pool = make_pool(np.random.default_rng(1).normal(size=40).tolist())
    small, large = (selected(Dsir(scores="strength", budget=n).select(pool)) for n in (5, 20))
    assert large[:5] == small


def test_short_pairs_are_never_taken() -> None:
    pool = too_short(make_pool([1.0, 2.0, 3.0, 4.0]), "p003", "p002")
    decisions = Dsir(scores="strength", budget=2).select(pool)
    assert set(selected(decisions)) == {"p000", "p001"}
    assert decisions["reason"][3] == "too_short: no weight"
    assert decisions["score"][3] is None
    with pytest.raises(ValueError, match="dsir: budget of 3 pairs, but only 2 of 4 train pairs have"):
        Dsir(scores="strength", budget=3).select(pool)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_an_error(bad: float) -> None:
    with pytest.raises(ValueError, match="1 of 2 train pairs have no usable 'score'"):
        Dsir(scores="strength", budget=1).select(make_pool([1.0, bad]))


def test_a_budget_above_the_pool_is_an_error() -> None:
    with pytest.raises(ValueError, match="budget of 3 pairs, but only 2 candidates"):
        Dsir(scores="strength", budget=Budget(count=3)).select(make_pool([1.0, 2.0]))
