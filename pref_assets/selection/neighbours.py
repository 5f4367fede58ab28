"""The most similar rows of every row, found in a few cells of many."""

import numpy as np
from numpy.typing import NDArray

from pref_assets.clustering.lloyd import lloyd, nearest

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

SAMPLE = 64  # rows a cell on which cells are found
STEPS = 5  # Lloyd steps; cells only need to be compact, not optimal


def nearest_in_cells(unit: Floats, count: int, probes: int, seed: int) -> tuple[Rows, Floats]:
    """The ``count`` most similar rows of each row of ``unit`` (n, d), itself first among equals.

    Rows lie in about sqrt(n) cells (k-means on a sample), and a row is compared with those in the ``probes`` cells
    whose centres are nearest to its own cell's centre; at least as many cells as hold ``count`` rows.

    Returns:
        (n, count) rows, most similar first, and their cosines, negative ones as 0. Where fewer than ``count`` rows
        exist, the row itself is repeated with 0.
    """
    n = len(unit)
    cells, centres = _cells(unit, max(1, round(np.sqrt(n))), seed)
    members = [np.flatnonzero(cells == cell) for cell in range(len(centres))]
    close = np.argsort(-(centres @ centres.T), axis=1, kind="stable")
    found = np.repeat(np.arange(n)[:, None], count, axis=1)
    similar = np.zeros((n, count), dtype=np.float32)
    for cell, rows in enumerate(members):
        if not len(rows):
            continue
        sizes = np.cumsum([len(members[other]) for other in close[cell]])
        probed = max(probes, int(np.searchsorted(sizes, count)) + 1)
        pool = np.concatenate([members[other] for other in close[cell][:probed]])
        cosine = unit[rows] @ unit[pool].T
        cosine[np.arange(len(rows)), np.searchsorted(pool[: len(rows)], rows)] = 2  # itself; its cell comes first
        kept = min(count, len(pool))
        top = np.argpartition(-cosine, kept - 1, axis=1)[:, :kept]
        values = np.take_along_axis(cosine, top, axis=1)
        order = np.lexsort((pool[top], -values), axis=1)
        found[rows, :kept] = pool[np.take_along_axis(top, order, axis=1)]
        similar[rows, :kept] = np.take_along_axis(values, order, axis=1).clip(0, 1)
    return found, similar


def _cells(unit: Floats, count: int, seed: int) -> tuple[Rows, Floats]:
    """The cell of each row, (n,), and the cells' centres."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(unit), min(len(unit), count * SAMPLE), replace=False)
    sample = unit[np.sort(rows)]
    start = sample[rng.choice(len(sample), count, replace=False)]
    _, _, centres = lloyd(sample, np.ones(len(sample), dtype=np.float32), start, STEPS, spherical=True, tolerance=0.0)
    cells, _ = nearest(unit, centres)
    return cells, centres
