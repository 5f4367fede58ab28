"""From bands to candidates, and from similar ones to who stays: always the earlier of two."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


def candidates(bands: NDArray[np.uint32], limit: int) -> tuple[Places, Places]:
    """Items that share a band, as (later, earlier) places in order of the later; each two once.

    Args:
        bands: (n, b) band hashes in order of arrival.
        limit: an item is compared with the first ``limit`` items of each of its band values. At most n·b·limit
            candidates come out, and those of an item depend on nothing that came after it.
    """
    found = np.empty(0, dtype=np.uint64)
    place = np.arange(len(bands), dtype=np.uint64)
    for band in range(bands.shape[1]):
        keys = np.sort(bands[:, band].astype(np.uint64) << _HALF | place)
        for edges in _edges(keys, limit):
            found = _union(found, edges)
    return (found >> _HALF).astype(np.int64), (found & _LOW).astype(np.int64)


def _edges(keys: NDArray[np.uint64], limit: int) -> Iterator[NDArray[np.uint64]]:
    """Packed (later, earlier) places of sorted (hash, place) keys."""
    if not len(keys):
        return
    values = keys >> _HALF
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    sizes = np.diff(np.concatenate([starts, [len(keys)]]))
    shared = sizes > 1
    starts, sizes = starts[shared], sizes[shared]
    first = np.repeat(starts, sizes)
    member = first + np.arange(len(first)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    for rank in range(limit):
        after = member - first > rank
        if not after.any():
            return
        first_of, member_of = first[after], member[after]
        yield (keys[member_of] & _LOW) << _HALF | (keys[first_of + rank] & _LOW)


def _union(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    both = np.sort(np.concatenate([one, other]))  # np.unique is several times slower
    return both[np.concatenate([np.ones(min(len(both), 1), dtype=bool), both[1:] != both[:-1]])]


def duplicates(later: Places, earlier: Places, count: int) -> NDArray[np.bool_]:
    """(count,) whether each item repeats an earlier one that is no duplicate itself.

    Args:
        later, earlier: places of similar items, in order of ``later``.
    """
    dropped = np.zeros(count, dtype=bool)
    for item, before in zip(later.tolist(), earlier.tolist(), strict=True):
        if not dropped[before]:
            dropped[item] = True
    return dropped


def groups(later: Places, earlier: Places, similarity: NDArray[np.float64], count: int) -> Places:
    """(count,) the first item of each item's group: that of the most similar earlier item, of the first among equals.

    Groups are never joined, so what comes later moves nobody.
    """
    group = np.arange(count)
    best = np.zeros(count)
    for item, before, share in zip(later.tolist(), earlier.tolist(), similarity.tolist(), strict=True):
        if share > best[item]:
            best[item] = share
            group[item] = group[before]
    return group
