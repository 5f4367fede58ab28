"""Farthest-first traversal of many points, exactly, without measuring every distance."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

CENTRES = 256  # centres that a row is measured against at once; a matrix product small enough for the cache
PAIRWISE = 4096  # most rows of a round that are measured against each other, which bounds memory
SAME = 1e-6  # squared distance, as a share of the largest squared length, below which float32 cannot tell two apart


def farthest_first(vectors: Floats, count: int, batch: int = 1024) -> tuple[Rows, Floats]:
    """Greedy k-center over rows (n, d): row 0, then always the row farthest (Euclidean) from those taken, the first
    of equally far ones. Rows equal to one taken come last, in their order.

    Returns:
        (count,) rows in the order taken; (count,) distance of each to the nearest taken before it, infinite for the
        first.

    What makes it fast: the distance of a row to the nearest of the first j picks, once known, bounds it from above for
    ever. Only rows whose bound is among the ``batch`` largest are brought up to date, and picks go on among them until
    one that was left out could be farther. Equal to the plain loop but for rounding in the last bits.
    """
    n = len(vectors)
    if count == 0 or n == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    state = _State(np.ascontiguousarray(vectors, dtype=np.float32), count)
    state.take(0, np.float32(np.inf))
    while state.taken < count:
        rows, outside, outside_row = state.hopeful(batch)
        state.refresh(rows)
        if not state.bound[rows].any() and outside <= 0:
            state.fill_with_copies()
            break
        state.pick_among(rows, outside, outside_row)
    return state.picks, np.sqrt(state.radius)


class _State:
    """Picks so far, and for every row an upper bound of its squared distance to them."""

    def __init__(self, vectors: Floats, count: int) -> None:
        self.vectors, self.count = vectors, count
        self.squared = np.einsum("nd,nd->n", vectors, vectors)
        self.same = SAME * float(self.squared.max())
        self.bound = np.full(len(vectors), np.inf, dtype=np.float32)
        self.seen = np.zeros(len(vectors), dtype=np.int64)
        """Picks that each row's bound has taken into account."""
        self.open = np.ones(len(vectors), dtype=bool)
        self.picks = np.empty(count, dtype=np.int64)
        self.radius = np.empty(count, dtype=np.float32)
        self.centres = np.empty((count, vectors.shape[1]), dtype=np.float32)
        self.taken = 0

    def take(self, row: int, squared_distance: np.float32) -> None:
        self.picks[self.taken] = row
        self.radius[self.taken] = squared_distance
        self.centres[self.taken] = self.vectors[row]
        self.bound[row] = -1
        self.open[row] = False
        self.taken += 1

    def hopeful(self, batch: int) -> tuple[Rows, np.float32, int]:
        """The open rows with the largest bounds, first rows first among equals; the largest bound of the others, and
        the first row that has it."""
        if self.open.sum() <= batch:
            return np.flatnonzero(self.open), np.float32(-1), len(self.bound)
        least = np.partition(self.bound, len(self.bound) - batch)[len(self.bound) - batch]
        above, equal = np.flatnonzero(self.bound > least), np.flatnonzero(self.bound == least)
        rows = np.concatenate([above, equal[: batch - len(above)]])
        if len(equal) > batch - len(above):
            return rows, least, int(equal[batch - len(above)])
        others = np.where(self.bound < least, self.bound, -1)
        return rows, others.max(), int(others.argmax())

    def refresh(self, rows: Rows) -> None:
        """Brings the bounds of ``rows`` up to date, except those that cannot be the farthest of them."""
        for start in range(int(self.seen[rows].min()) // CENTRES * CENTRES, self.taken, CENTRES):
            stop = min(start + CENTRES, self.taken)
            fresh = self.seen[rows] == self.taken
            best = self.bound[rows[fresh]].max() if fresh.any() else np.float32(-1)
            behind = rows[(self.seen[rows] < stop) & (self.seen[rows] >= start) & (self.bound[rows] >= best)]
            if len(behind):
                self._measure(behind, start, stop)

    def _measure(self, rows: Rows, start: int, stop: int) -> None:
        centres = self.centres[start:stop]
        squared = self.squared[self.picks[start:stop]] - 2 * (self.vectors[rows] @ centres.T)
        self._lower(rows, squared.min(axis=1) + self.squared[rows])
        self.seen[rows] = stop

    def _lower(self, rows: Rows, squared: Floats) -> None:
        squared = np.where(squared <= self.same, np.float32(0), squared)
        self.bound[rows] = np.minimum(self.bound[rows], squared)

    def pick_among(self, rows: Rows, outside: np.float32, outside_row: int) -> None:
        """Takes rows that are up to date while the farthest of them is farther than anything else can be."""
        ready = self.seen[rows] == self.taken
        stale = rows[~ready]
        if len(stale):
            outside, outside_row = _further(outside, outside_row, *_first_largest(self.bound[stale], stale))
        rows = rows[ready]
        rows = rows[np.lexsort((rows, -self.bound[rows]))]
        rows = rows[_ahead(self.bound[rows], rows, outside, outside_row)]
        if len(rows) > PAIRWISE:
            left_out = rows[PAIRWISE]
            outside, outside_row = _further(outside, outside_row, self.bound[left_out], int(left_out))
            rows = rows[:PAIRWISE]
        rows = np.sort(rows)
        if not len(rows):
            return
        vectors, lengths = self.vectors[rows], self.squared[rows]
        products = vectors @ vectors.T
        bound = self.bound[rows].copy()
        while self.taken < self.count:
            place = int(bound.argmax())
            if bound[place] <= 0 or not _ahead(bound[place], rows[place], outside, outside_row):
                break
            self.take(int(rows[place]), bound[place])
            squared = lengths + lengths[place] - 2 * products[place]
            squared[squared <= self.same] = 0
            np.minimum(bound, squared, out=bound)
            bound[place] = -1
        self.bound[rows] = bound
        self.seen[rows] = self.taken

    def fill_with_copies(self) -> None:
        """Takes what is left: every open row equals one that was taken."""
        for row in np.flatnonzero(self.open)[: self.count - self.taken]:
            self.take(int(row), np.float32(0))


def _first_largest(bound: Floats, rows: Rows) -> tuple[np.float32, int]:
    largest = bound.max()
    return largest, int(rows[bound == largest].min())


def _further(bound: np.float32, row: int, other: np.float32, other_row: int) -> tuple[np.float32, int]:
    """The larger bound and its row; of equal ones the first row."""
    return (bound, row) if (bound, -row) >= (other, -other_row) else (other, other_row)


def _ahead(
    bound: Floats | np.float32, row: Rows | np.int64, outside: np.float32, outside_row: int
) -> NDArray[np.bool_]:
    """Whether a row comes before the best of the others: it is farther, or equally far and earlier."""
    return np.asarray((bound > outside) | ((bound == outside) & (row < outside_row)))
