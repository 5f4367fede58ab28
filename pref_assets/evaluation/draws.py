"""Numbers with their bootstrap draws, so that what is computed from several of them has an interval as well."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pref_assets.evaluation.intervals import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Drawn:
    """A value, what it was in each resample, shape (resamples,) (null where there is nothing to resample), and the
    items measured."""

    value: float
    draws: Floats | None
    n: int

    def estimate(self) -> Estimate:
        """The value with its percentile 95 % interval, which always holds it."""
        if self.draws is None:
            return Estimate(self.value, None, None, self.n)
        lo, hi = np.quantile(self.draws, [0.025, 0.975])
        return Estimate.around(self.value, (float(lo), float(hi)), self.n)


def drawn(statistic: Callable[[Ints], float], count: int, seed: int, resamples: int, n: int | None = None) -> Drawn:
    """A statistic of ``count`` independent items (it takes item numbers, with repetition), resampled.

    ``n`` is what counts as measured, the items when left out. With fewer than two items there are no draws.
    """
    value = statistic(np.arange(count))
    if count < 2:
        return Drawn(value, None, n or count)
    generator = np.random.default_rng(seed)
    draws = np.array([statistic(generator.integers(count, size=count)) for _ in range(resamples)])
    return Drawn(value, draws, n or count)


def drawn_mean(values: Floats, groups: Ints, seed: int, resamples: int) -> Drawn:
    """Mean of values whose groups (numbers from 0 without gaps, shape (n,)) are resampled whole.

    Equal seeds and groups draw the same groups, so that draws of several values of the same items belong together.
    """
    count = int(groups.max()) + 1 if len(groups) else 0
    mean = float(values.mean()) if len(values) else float("nan")
    if count < 2:
        return Drawn(mean, None, len(values))
    sums = np.bincount(groups, weights=values, minlength=count)
    sizes = np.bincount(groups, minlength=count).astype(np.float64)
    picked = np.random.default_rng(seed).integers(count, size=(resamples, count))
    return Drawn(mean, sums[picked].sum(axis=1) / sizes[picked].sum(axis=1), len(values))


def weighted(parts: Sequence[tuple[float, Drawn]]) -> Drawn:
    """Weighted mean of numbers measured on different items; it has draws when every part has.

    Raises:
        ValueError: no part, or weights that do not add up to a positive number.
    """
    total = sum(weight for weight, _ in parts)
    if total <= 0:
        raise ValueError("a weighted mean needs parts of positive weight")
    value = sum(weight * part.value for weight, part in parts) / total
    n = sum(part.n for _, part in parts)
    draws = [part.draws for _, part in parts]
    known = [each for each in draws if each is not None]
    if len(known) < len(draws):
        return Drawn(value, None, n)
    weights = np.array([weight for weight, _ in parts])
    return Drawn(value, weights @ np.stack(known) / total, n)


def part_seed(seed: int, name: str) -> int:
    """A seed for a named part, so that parts are resampled independently of each other."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=4).digest())
