from collections import Counter

from pref_assets.selection import Budget, Pool, Random
from pref_assets_tests.selection.pools import make_pool, selected


def test_a_smaller_budget_is_a_subset_of_a_larger_one() -> None:
    pool = make_pool([0.0] * 50)
    small, large = (selected(Random(budget=Budget(count=n), seed=3).select(pool)) for n in (10, 20))
    assert large[:10] == small


def test_every_pair_is_drawn_about_as_often() -> None:
    pool = make_pool([0.0] * 10)
    drawn = Counter(p for seed in range(400) for p in selected(Random(budget=Budget(count=3), seed=seed).select(pool)))
    # Binomial(400, .3) has mean 120 and standard deviation 9.2: four of them on either side.
    assert set(drawn) == set(pool.pairs["pair_id"])
    assert all(83 <= count <= 157 for count in drawn.values())


def test_new_pairs_do_not_reshuffle_old_ones() -> None:
    pool = make_pool([0.0] * 60)
    before = Pool(pool.pairs.head(50), pool.completions)
    order = [p for p in selected(Random(budget=Budget(fraction=1.0)).select(pool)) if p < "p050"]
    assert order == selected(Random(budget=Budget(fraction=1.0)).select(before))
