import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.selection.turns import draws, in_turns, nested_turns


def prefix(sizes: list[int], budget: int, weights: dict[int, float] | None = None) -> list[int]:
    """What each group gets of the first ``budget`` rows."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return np.bincount(groups[in_turns(groups, weights)[:budget]], minlength=len(sizes)).tolist()


def water_fill(sizes: list[int], budget: int) -> list[int]:
    """The published loop of S2L: from the smallest group up, an equal part of what is left, or all it has."""
    order = sorted(range(len(sizes)), key=lambda g: (sizes[g], -g))
    given_to = [0] * len(sizes)
    for place, group in enumerate(order):
        given_to[group] = min(sizes[group], (budget - sum(given_to)) // (len(order) - place))
    return given_to


def test_s2l_oracle() -> None:
    assert prefix([1000, 500, 200, 50, 5], 250) == [65, 65, 65, 50, 5]


def test_adapt_infinity_oracle() -> None:
    assert prefix([10, 100, 1000], 300) == [10, 100, 190]


@settings(max_examples=200, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8), data=st.data())
def test_equal_turns_are_water_filling(sizes: list[int], data: st.DataObject) -> None:
    budget = data.draw(st.integers(0, sum(sizes)))
    assert prefix(sizes, budget) == water_fill(sizes, budget)


def test_what_does_not_divide_goes_to_the_largest() -> None:
    assert prefix([4, 9, 6], 10) == [3, 4, 3]


@pytest.mark.parametrize(("budget", "expected"), [(7, [3, 3, 1]), (23_763, [9505, 11882, 2376]), (10, [4, 5, 1])])
def test_mm_rlhf_ratio(budget: int, expected: list[int]) -> None:
    assert prefix([24_000] * 3, budget, {0: 4, 1: 5, 2: 1}) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.data())
def test_weighted_turns_stay_near_the_exact_share(sizes: list[int], data: st.DataObject) -> None:
    """Webster's method: without a group running out, a share is less than one off in two groups, and never inverted."""
    weights = {g: float(data.draw(st.integers(1, 9))) for g in range(len(sizes))}
    budget = data.draw(st.integers(1, 12))
    got = prefix([100] * len(sizes), budget, weights)
    assert sum(got) == budget
    for one in range(len(sizes)):
        for other in range(len(sizes)):
            if weights[one] > weights[other]:
                assert got[one] >= got[other]


def test_rows_of_a_group_keep_their_order() -> None:
    groups = np.array([1, 0, 1, 0, 1])
    order = in_turns(groups)
    assert order.tolist() == [0, 1, 2, 3, 4]
    assert draws(groups, order).tolist() == [1, 1, 2, 2, 3]


def test_nested_turns() -> None:
    """Two sources take turns; inside the first, its two clusters do."""
    outer = np.array([0, 0, 0, 0, 1, 1])
    inner = np.array([7, 7, 7, 8, 7, 7])
    # Source 0 gives cluster 7 (larger), 8, 7, 7; the larger source is first at equal times.
    assert nested_turns(outer, inner).tolist() == [0, 4, 3, 5, 1, 2]


def test_no_rows() -> None:
    none = np.empty(0, dtype=np.int64)
    assert in_turns(none).tolist() == []
    assert nested_turns(none, none).tolist() == []
