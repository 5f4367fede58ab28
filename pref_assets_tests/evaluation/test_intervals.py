"""Intervals against published and hand-computed numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.evaluation.intervals import (
    Estimate,
    bootstrap,
    bootstrap_mean,
    difference,
    effective_size,
    group_numbers,
    share,
    wilson,
)


def test_wilson_against_published_numbers():
    assert wilson(80, 100) == pytest.approx((0.711, 0.867), abs=5e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=5e-5)  # z^2 / (n + z^2)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(case):
    successes, n = case
    lo, hi = wilson(successes, n)
    assert 0 <= lo <= successes / n <= hi <= 1
    mirrored = wilson(n - successes, n)
    assert (1 - hi, 1 - lo) == pytest.approx(mirrored, abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_share(successes, n):
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, n)


def test_effective_size_of_grouped_items():
    values = np.array([1.0, 1.0, 0.0, 0.0])
    # Simple variance of the mean 4 * 0.25 / 16; between two groups with totals +1, -1: 2 / 16 * 2 = 0.25.
    assert effective_size(values, np.array([0, 0, 1, 1])) == pytest.approx(1.0)
    # Groups that each hold one of both differ less than chance; the size never exceeds the items.
    assert effective_size(values, np.array([0, 1, 0, 1])) == pytest.approx(4.0)
    # Nothing varies: only the groups can be counted.
    assert effective_size(np.ones(6), np.array([0, 0, 1, 1, 2, 2])) == 3.0


def test_share_is_plain_wilson_without_groups_and_wider_with_them():
    values = np.array([1.0] * 80 + [0.0] * 20)
    plain = share(values, np.arange(100))
    assert (plain.value, plain.n) == (0.8, 100)
    assert (plain.lo, plain.hi) == pytest.approx(wilson(80, 100))
    grouped = share(values, np.arange(100) // 5)
    assert grouped.lo < plain.lo
    assert grouped.hi > plain.hi
    assert grouped.n == 100


def test_difference_is_newcombes():
    """Newcombe 1998 (Statistics in Medicine 17:873), 56/70 against 48/80, method 10: 0.0524 to 0.3339."""
    a = Estimate(56 / 70, *wilson(56, 70), n=70)
    b = Estimate(48 / 80, *wilson(48, 80), n=80)
    assert difference(a, b) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert difference(a, Estimate(0.5, None, None, 3)) == (pytest.approx(0.3), None, None)


def test_bootstrap_depends_on_the_seed_alone():
    values = np.random.default_rng(0).normal(size=60)
    groups = np.arange(60) // 3

    def mean(items):
        return float(values[items].mean())

    first = bootstrap(mean, groups, seed=1, resamples=200)
    assert first == bootstrap(mean, groups, seed=1, resamples=200)
    assert first != bootstrap(mean, groups, seed=2, resamples=200)
    assert first[0] < values.mean() < first[1]


def test_bootstrap_mean_resamples_groups_not_items():
    values = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    grouped = bootstrap_mean(values, np.array([0, 0, 0, 1, 1, 1]), seed=0)
    # Two groups: a quarter of the resamples hold the first alone, a quarter the second alone.
    assert grouped == Estimate(0.5, 0.0, 1.0, 6)
    apart = bootstrap_mean(values, np.arange(6), seed=0)
    assert 0.0 < apart.lo < 0.5 < apart.hi < 1.0
    assert bootstrap_mean(np.array([2.0, 3.0]), np.array([0, 0]), seed=0) == Estimate(2.5, None, None, 2)


def test_bootstrap_without_a_defined_statistic_has_no_interval():
    assert bootstrap(lambda items: float("nan"), np.arange(5), seed=0, resamples=100) == (None, None)
    assert bootstrap(lambda items: 1.0, np.zeros(5, np.int64), seed=0) == (None, None)


def test_an_interval_holds_its_value():
    assert Estimate.around(1.0, (0.2, 0.9), 4) == Estimate(1.0, 0.2, 1.0, 4)
    assert Estimate.around(1.0, (None, None), 4) == Estimate(1.0, None, None, 4)


def test_groups_are_numbered_by_key():
    assert group_numbers(["b", "a", "b"]).tolist() == [1, 0, 1]
    assert group_numbers([]).tolist() == []
