"""Greedy maximisation of facility location, with every gain kept up to date."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Gains = NDArray[np.float64]
Rows = NDArray[np.int64]

SAME = 1e-6  # gains nearer than this are equal: float32 cosines cannot tell them apart
BLOCK = 256  # rows whose change is worked out at once; bounds memory, changes no result


def cover_dense(similarity: Floats, count: int) -> tuple[Rows, Gains]:
    """Greedy facility location over all similarities (n, n), symmetric and not negative.

    Gains are not evaluated again, they are lowered by what a pick takes away: only rows that a pick covers better than
    before change them, about n / t rows at pick t, so that all picks together cost O(n² log count) where a lazy heap
    (Minoux 1978) evaluates most gains again when similarities are much alike.

    Returns:
        (count,) rows in the order taken, the first of equally good ones first; (count,) what each added to
        sum_i max_{j taken} similarity[i, j].
    """
    gains = similarity.sum(axis=1, dtype=np.float64)
    covered = np.zeros(len(similarity), dtype=np.float32)

    def take(row: int) -> None:
        changed = np.flatnonzero(similarity[row] > covered)
        for start in range(0, len(changed), BLOCK):
            rows = changed[start : start + BLOCK]
            before, after = covered[rows, None], similarity[row, rows, None]
            gains[:] -= np.clip(similarity[rows] - before, 0, after - before).sum(axis=0, dtype=np.float64)
        covered[changed] = similarity[row, changed]

    return _greedy(gains, count, take)


def cover(rows: Rows, similar: Floats, count: int) -> tuple[Rows, Gains]:
    """The same where row i has similarities ``similar[i]`` to ``rows[i]``, both (n, k), and 0 to all others.

    Time O(n k log count + n count), memory O(n k).
    """
    n, width = rows.shape
    by_column = np.argsort(rows.ravel(), kind="stable")
    source, value = by_column // width, similar.ravel()[by_column]
    start = np.concatenate([[0], np.cumsum(np.bincount(rows.ravel(), minlength=n))]).tolist()
    gains = np.bincount(rows.ravel(), similar.ravel(), minlength=n).astype(np.float64)
    covered = np.zeros(n, dtype=np.float32)

    def take(row: int) -> None:
        part = slice(start[row], start[row + 1])
        better = value[part] > covered[source[part]]
        changed, after = source[part][better], value[part][better]
        before = covered[changed]
        lost = np.clip(similar[changed] - before[:, None], 0, (after - before)[:, None])
        np.subtract.at(gains, rows[changed].ravel(), lost.ravel().astype(np.float64))
        covered[changed] = after

    return _greedy(gains, count, take)


def _greedy(gains: Gains, count: int, take: Callable[[int], None]) -> tuple[Rows, Gains]:
    """Takes the row with the largest gain ``count`` times; ``take`` lowers ``gains`` by what the row covers."""
    picks = np.empty(count, dtype=np.int64)
    added = np.empty(count)
    for place in range(count):
        row = int(gains.argmax())
        row = int((gains >= gains[row] - SAME).argmax())
        picks[place], added[place] = row, max(gains[row], 0.0)
        take(row)
        gains[row] = -np.inf
    return picks, added
