import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.duplicates.lsh import candidates, duplicates, groups

BANDS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=25)


def by_hand(bands: list[tuple[int, ...]], limit: int) -> set[tuple[int, int]]:
    found = set()
    for later, mine in enumerate(bands):
        for band, value in enumerate(mine):
            first = [place for place, other in enumerate(bands) if other[band] == value][:limit]
            found |= {(later, earlier) for earlier in first if earlier < later}
    return found


@given(BANDS, st.integers(1, 4))
def test_an_item_meets_the_first_of_each_band_value(bands: list[tuple[int, ...]], limit: int) -> None:
    later, earlier = candidates(np.array(bands, dtype=np.uint32).reshape(-1, 3), limit)
    edges = list(zip(later.tolist(), earlier.tolist(), strict=True))
    assert edges == sorted(by_hand(bands, limit))


@given(BANDS, BANDS, st.integers(1, 4))
def test_what_comes_later_changes_no_earlier_candidate(
    bands: list[tuple[int, ...]], more: list[tuple[int, ...]], limit: int
) -> None:
    before = candidates(np.array(bands, dtype=np.uint32).reshape(-1, 3), limit)
    later, earlier = candidates(np.array(bands + more, dtype=np.uint32).reshape(-1, 3), limit)
    old = later < len(bands)
    assert later[old].tolist() == before[0].tolist()
    assert earlier[old].tolist() == before[1].tolist()


def test_an_item_near_only_to_a_dropped_one_stays() -> None:
    """1 repeats 0; 2 repeats 1, which is gone; 3 repeats 2, which stayed."""
    dropped = duplicates(np.array([1, 2, 3]), np.array([0, 1, 2]), 5)
    assert dropped.tolist() == [False, True, False, True, False]


def test_groups_follow_the_most_similar_and_are_never_joined() -> None:
    """2 resembles both 0 and 1, which do not resemble each other; 3 follows 2; 4 is as near to 0 as to 1."""
    later, earlier = np.array([2, 2, 3, 4, 4]), np.array([0, 1, 2, 0, 1])
    group = groups(later, earlier, np.array([0.8, 0.9, 0.8, 0.85, 0.85]), 6)
    assert group.tolist() == [0, 1, 1, 1, 0, 5]
