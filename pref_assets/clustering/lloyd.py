"""Lloyd's algorithm on weighted vectors: the numerical core of every clusterer with centres."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
BLOCK = 8192  # rows compared with all centres at once: bounds memory, changes no result


def nearest(matrix: Floats, centres: Floats, block: int = BLOCK, lengths: Floats | None = None) -> tuple[Ints, Floats]:
    """The nearest centre of every vector, (n,), the first of equals, and the squared distance to it, (n,).

    Args:
        matrix: (n, d). centres: (k, d). lengths: squared lengths (n,) of the vectors, where they are known. Time
            O(n · k · d), memory O(block · k).
    """
    lengths = squared_lengths(matrix) if lengths is None else lengths
    labels = np.empty(len(matrix), dtype=np.int64)
    squared = np.empty(len(matrix), dtype=np.float32)
    half = 0.5 * squared_lengths(centres)
    transposed = np.ascontiguousarray(centres.T)
    for start in range(0, len(matrix), block):
        rows = matrix[start : start + block]
        closeness = rows @ transposed
        closeness -= half
        best = closeness.argmax(axis=1)
        labels[start : start + block] = best
        reached = lengths[start : start + block] - 2 * closeness[np.arange(len(rows)), best]
        squared[start : start + block] = np.maximum(reached, 0)
    return labels, squared


def plus_plus(matrix: Floats, weights: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Starting centres (k, d): greedy k-means++ (Arthur & Vassilvitskii, 2007), which draws 2 + ln k candidates with
    probability proportional to weight times squared distance, and takes the one that leaves the least inertia.

    ``matrix`` (n, d) holds at least ``k`` distinct vectors. Time O(n · k · d · ln k).
    """
    trials = 2 + int(np.log(k))
    norms = squared_lengths(matrix)
    chosen = [
        int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right").clip(max=len(matrix) - 1))
    ]
    left = _squared_to(matrix, norms, np.array(chosen))[:, 0]
    for _ in range(1, k):
        mass = np.cumsum(left * weights, dtype=np.float64)
        if mass[-1] <= 0:  # what is left differs from a centre by less than rounding: any row not chosen yet
            taken = np.isin(np.arange(len(matrix)), chosen)
            candidates = np.flatnonzero(~taken)[:1]
        else:
            drawn = np.searchsorted(mass, rng.random(trials) * mass[-1], side="right")
            candidates = np.unique(drawn.clip(max=len(matrix) - 1))
        after = np.minimum(left[:, None], _squared_to(matrix, norms, candidates))
        best = int((weights @ after).argmin())
        left = after[:, best]
        chosen.append(int(candidates[best]))
    return matrix[chosen]


def lloyd(
    matrix: Floats, weights: Floats, centres: Floats, steps: int, *, spherical: bool, tolerance: float
) -> tuple[Ints, Floats, Floats]:
    """Labels (n,), squared distances (n,) and centres (k, d) after at most ``steps`` steps from these centres.

    Stops when no label changes, or when a step lowers the inertia by less than ``tolerance`` of it. ``spherical``
    scales the centres to unit length after every step (Dhillon & Modha, 2001); ``matrix`` is then of unit length.
    A cluster that loses all its members starts anew at the vector farthest from its centre.
    """
    lengths = squared_lengths(matrix)
    labels, squared = nearest(matrix, centres, lengths=lengths)
    inertia = float(weights @ squared)
    for _ in range(steps):
        _fill_empty(labels, squared, len(centres))
        centres = _means(matrix, weights, labels, centres, spherical=spherical)
        moved, squared = nearest(matrix, centres, lengths=lengths)
        reached = float(weights @ squared)
        settled = bool((moved == labels).all()) or inertia - reached <= tolerance * inertia
        labels, inertia = moved, reached
        if settled:
            break
    return labels, squared, centres


def fit_centres(
    matrix: Floats,
    weights: Floats,
    k: int,
    seed: int,
    *,
    starts: int,
    start: int,
    sample: int,
    iterations: int,
    polish: int,
    spherical: bool,
    tolerance: float,
) -> Floats:
    """Centres (k, d): the best of ``starts`` tries on ``start`` vectors (k-means++ and Lloyd steps), moved on by Lloyd
    steps on ``sample`` vectors, the last ones on all.

    ``matrix`` (n, d) holds distinct vectors, at least ``k``; ``weights`` (n,) says how often each occurs.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(matrix), min(sample, len(matrix)), replace=False))
    centres = _best_start(matrix, weights, rows, k, rng, starts, start, iterations, spherical, tolerance)
    if len(rows) < len(matrix):
        part, few = np.ascontiguousarray(matrix[rows]), weights[rows]
        centres = lloyd(part, few, centres, iterations, spherical=spherical, tolerance=tolerance)[2]
    steps = polish if len(rows) < len(matrix) else iterations
    if not steps:
        return centres
    return lloyd(matrix, weights, centres, steps, spherical=spherical, tolerance=tolerance)[2]


def _best_start(
    matrix: Floats,
    weights: Floats,
    rows: Ints,
    k: int,
    rng: np.random.Generator,
    starts: int,
    size: int,
    iterations: int,
    spherical: bool,
    tolerance: float,
) -> Floats:
    first = np.sort(rng.choice(rows, min(size, len(rows)), replace=False))
    part, few = matrix[first], weights[first]
    found: list[tuple[float, Floats]] = []
    for _ in range(starts):
        centres = plus_plus(part, few, k, rng)
        if starts > 1:
            _, squared, centres = lloyd(part, few, centres, iterations, spherical=spherical, tolerance=tolerance)
            found.append((float(few @ squared), centres))
        else:
            found.append((0.0, unit(centres) if spherical else centres))
    return min(found, key=lambda each: each[0])[1]


def squared_lengths(matrix: Floats) -> Floats:
    """|x|² of every vector, (n,)."""
    return np.asarray(np.einsum("nd,nd->n", matrix, matrix), dtype=np.float32)


def unit(matrix: Floats) -> Floats:
    """The vectors scaled to unit length; a zero stays a zero."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(norms == 0, 1, norms), dtype=np.float32)


def distinct(matrix: Floats) -> tuple[Ints, Ints]:
    """First row of each distinct vector, and how often each occurs; in the order of their first rows."""
    rows = np.ascontiguousarray(matrix + 0.0, dtype=np.float32)  # adding zero makes -0.0 and 0.0 the same bytes
    key = _row_keys(rows)
    _, group, size = np.unique(key, return_inverse=True, return_counts=True)
    # Rows of one key are nearly always equal; bytes decide.
    names: dict[tuple[int, bytes], int] = {}
    first = np.arange(len(rows), dtype=np.int64)
    for row in np.flatnonzero(size[group] > 1).tolist():
        first[row] = names.setdefault((int(key[row]), rows[row].tobytes()), row)
    found, counts = np.unique(first, return_counts=True)
    return found, counts.astype(np.int64)


def _row_keys(rows: Floats) -> NDArray[np.uint64]:
    """A 64-bit number of every row, (n,), equal for equal bytes: the sum of its words times odd random numbers."""
    factors = np.random.default_rng(0).integers(0, 2**64, size=rows.shape[1], dtype=np.uint64) | np.uint64(1)
    words = rows.view(np.uint32)
    starts = range(0, len(rows), BLOCK)
    sums = [np.einsum("nd,d->n", words[at : at + BLOCK], factors, dtype=np.uint64) for at in starts]
    return np.concatenate(sums) if sums else np.empty(0, np.uint64)


def _squared_to(matrix: Floats, norms: Floats, rows: Ints) -> Floats:
    """Squared distances (n, m) of every vector to these rows."""
    squared = norms[:, None] - 2 * (matrix @ matrix[rows].T) + norms[rows]
    squared[rows, np.arange(len(rows))] = 0
    return np.asarray(np.maximum(squared, 0), dtype=np.float32)


def _fill_empty(labels: Ints, squared: Floats, k: int) -> None:
    """Gives every empty cluster the vector farthest from its own centre."""
    empty = np.flatnonzero(np.bincount(labels, minlength=k) == 0)
    if len(empty):
        far = np.argsort(-squared, kind="stable")[: len(empty)]
        far = far[squared[far] > 0]
        labels[far], squared[far] = empty[: len(far)], 0


def _means(matrix: Floats, weights: Floats, labels: Ints, centres: Floats, *, spherical: bool) -> Floats:
    from scipy.sparse import csr_array

    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=len(centres))
    ends = np.concatenate([[0], np.cumsum(counts)])
    sums = csr_array((weights[order], order, ends), shape=(len(centres), len(matrix))) @ matrix
    totals = np.bincount(labels, weights=weights, minlength=len(centres)).astype(np.float32)
    means = np.where(counts[:, None] > 0, sums / np.where(totals == 0, 1, totals)[:, None], centres)
    if not spherical:
        return np.asarray(means, dtype=np.float32)
    # Members that cancel out have no mean direction: their centre stays where it was.
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(np.where(norms > 0, means / np.where(norms == 0, 1, norms), centres), dtype=np.float32)
