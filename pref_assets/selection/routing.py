"""Which labels are worth a person: what a proxy gains from human labels, regressed on the pairs' features."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Form = Literal["linear", "quadratic"]


def label_mixes(features: Flags, runs: int, seed: int) -> Flags:
    """Which pairs get a human label in each proxy run, (n, runs), for pairs with binary ``features`` (n, f).

    A run draws how many from 1 to n, then walks the features in a drawn order and takes the pairs that have each until
    it has enough (any others where the features run out), so that runs differ in what their human labels are about.
    """
    rng = np.random.default_rng(seed)
    n, width = features.shape
    mixes = np.zeros((n, runs), dtype=bool)
    for run in range(runs):
        size = int(rng.integers(1, n, endpoint=True))
        place = np.empty(width, dtype=np.int64)
        place[rng.permutation(width)] = np.arange(width)
        first = np.where(features, place, width).min(axis=1, initial=width)
        mixes[np.lexsort((rng.random(n), first))[:size], run] = True
    return mixes


@dataclass(frozen=True)
class Routing:
    """A regression of performance on counts of human-labelled pairs by feature.

    Attributes:
        slopes: (f,) for one more pair with the feature. curves: (f, f) for products of counts, zeros when linear.
        rmse: error on the runs held out; rmse_of_mean: of predicting their mean, to be beaten.
    """

    slopes: Floats
    curves: Floats
    rmse: float
    rmse_of_mean: float

    def gains(self, features: Flags) -> Floats:
        """What a human label of each pair adds, (n,): prediction with this pair's counts minus that with none."""
        flags = features.astype(np.float64)
        gains: Floats = flags @ self.slopes + np.einsum("nf,fg,ng->n", flags, self.curves, flags)
        return gains


def fit_routing(counts: Floats, values: Floats, form: Form, l2: float, held_out: float = 0.2) -> Routing:
    """Ridge regression of ``values`` (runs,) on ``counts`` (runs, f), or on counts and their products.

    Terms are standardised, so ``l2`` is per run in units of the response; the last ``held_out`` of the runs only
    measure the error.

    Raises:
        ValueError: fewer than two runs to fit on or none to measure with.
    """
    fitted = round((1 - held_out) * len(values))
    if fitted < 2 or fitted == len(values):
        raise ValueError(f"{len(values)} proxy runs are too few to fit and to measure a routing model; raise `runs`")
    left, right = np.triu_indices(counts.shape[1])
    terms = counts if form == "linear" else np.hstack([counts, counts[:, left] * counts[:, right]])
    centre, scale = terms[:fitted].mean(axis=0), terms[:fitted].std(axis=0)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    standard = (terms - centre) * inverse
    mean = values[:fitted].mean()
    x, y = standard[:fitted], values[:fitted] - mean
    slopes = np.linalg.solve(x.T @ x + l2 * fitted * np.eye(x.shape[1]), x.T @ y)
    errors = values[fitted:] - mean - standard[fitted:] @ slopes
    slopes = slopes * inverse
    curves = np.zeros((counts.shape[1], counts.shape[1]))
    if form == "quadratic":
        curves[left, right] = slopes[counts.shape[1] :]
    return Routing(
        slopes[: counts.shape[1]],
        curves,
        float(np.sqrt(np.mean(errors**2))),
        float(np.sqrt(np.mean((values[fitted:] - mean) ** 2))),
    )
