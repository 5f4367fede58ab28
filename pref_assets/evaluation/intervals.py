"""Intervals: every number of an evaluation comes with one."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""Quantile of the normal distribution behind a two-sided 95 % interval."""

RESAMPLES = 1000
"""Bootstrap resamples; the ends of a 95 % interval then rest on 25 resamples each."""


@dataclass(frozen=True)
class Estimate:
    """A value, the ends of its 95 % interval (``None`` where none is defined) and the items measured."""

    value: float
    lo: float | None
    hi: float | None
    n: int

    @classmethod
    def around(cls, value: float, ends: tuple[float, float] | tuple[None, None], n: int) -> "Estimate":
        """An estimate whose resampled interval holds the value, which few or equal resamples may miss by a rounding."""
        lo, hi = ends
        if lo is None or hi is None:
            return cls(value, None, None, n)
        return cls(value, min(lo, value), max(hi, value), n)


def wilson(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927); unlike the normal one it stays inside [0, 1].

    ``successes`` may be fractional (a tie counts half) and so may ``n`` (an effective sample size).

    Raises:
        ValueError: ``n`` is not positive, or ``successes`` lies outside ``[0, n]``.
    """
    if n <= 0 or not 0 <= successes <= n * (1 + 1e-9):
        raise ValueError(f"a proportion needs 0 <= successes <= n and n > 0, not {successes} of {n}")
    p = min(successes / n, 1.0)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # Rounding must not push an end past the share itself (0 of n, n of n).
    return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))


def effective_size(values: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """How many independent items a clustered sample is worth: ``n`` over the design effect (Kish 1965).

    Items of one group (the pairs of a prompt) resemble each other, so they say less than as many independent ones.
    The design effect is the variance of the mean between groups over that of a simple random sample, never taken
    below 1. Where all values are equal it cannot be estimated and the number of groups is returned.

    Args:
        values: (n,) in [0, 1].
        groups: (n,) group number of each item, from 0 without gaps.
    """
    n = len(values)
    count = int(groups.max()) + 1
    deviations = values - values.mean()
    simple = float(np.square(deviations).sum()) / n**2
    if simple == 0 or count == 1:
        return float(count)
    totals = np.bincount(groups, weights=deviations, minlength=count)
    clustered = float(np.square(totals).sum()) / n**2 * count / (count - 1)
    return min(float(n), n * simple / clustered) if clustered > 0 else float(n)


def share(values: NDArray[np.float64], groups: NDArray[np.int64]) -> Estimate:
    """Mean of values in [0, 1] with a Wilson interval at the effective sample size of the groups.

    With one item a group and values 0 or 1 this is the plain Wilson interval, up to the factor ``n / (n - 1)`` of the
    variance estimate.
    """
    size = effective_size(values, groups) if len(np.unique(groups)) < len(values) else float(len(values))
    mean = float(values.mean())
    return Estimate(mean, *wilson(mean * size, size), n=len(values))


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    groups: NDArray[np.int64],
    seed: int,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | tuple[None, None]:
    """Percentile 95 % interval of a statistic under resampling of whole groups (Efron 1979; Davison and Hinkley 1997).

    Args:
        statistic: takes item numbers (with repetition) and returns a number; ``nan`` resamples are left out.
        groups: (n,) group number of each item, from 0 without gaps.
        seed: of the resampling.
        resamples: number of resamples.

    Returns:
        ``(None, None)`` with fewer than two groups, or when the statistic is undefined in most resamples.
    """
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < 2:
        return None, None
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(count + 1))
    members = [order[starts[g] : starts[g + 1]] for g in range(count)]
    generator = np.random.default_rng(seed)
    drawn = (np.concatenate([members[g] for g in generator.integers(count, size=count)]) for _ in range(resamples))
    results = np.array([statistic(items) for items in drawn])
    results = results[np.isfinite(results)]
    if len(results) < resamples / 2:
        return None, None
    lo, hi = np.quantile(results, [0.025, 0.975])
    return float(lo), float(hi)


def bootstrap_mean(
    values: NDArray[np.float64], groups: NDArray[np.int64], seed: int, resamples: int = RESAMPLES
) -> Estimate:
    """Mean of any values with a bootstrap interval over groups, as for paired differences before and after."""
    count = int(groups.max()) + 1 if len(groups) else 0
    mean = float(values.mean())
    if count < 2:
        return Estimate(mean, None, None, n=len(values))
    sums = np.bincount(groups, weights=values, minlength=count)
    sizes = np.bincount(groups, minlength=count).astype(np.float64)
    drawn = np.random.default_rng(seed).integers(count, size=(resamples, count))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    lo, hi = np.quantile(means, [0.025, 0.975])
    return Estimate.around(mean, (float(lo), float(hi)), n=len(values))


def jackknife(value: float, left_out: NDArray[np.float64], n: int, z: float = Z95) -> Estimate:
    """A value with the normal 95 % interval of the delete-one jackknife (Efron and Stein 1981).

    For statistics that resampling with repetition distorts, such as counts of distinct things.

    Args:
        value: of all groups.
        left_out: (groups,) the statistic without each group; with fewer than two there is no interval.
        n: items measured.
    """
    count = len(left_out)
    if count < 2:
        return Estimate(value, None, None, n)
    error = math.sqrt((count - 1) / count * float(np.square(left_out - left_out.mean()).sum()))
    return Estimate(value, value - z * error, value + z * error, n)


def difference(a: Estimate, b: Estimate) -> tuple[float, float | None, float | None]:
    """``a - b`` with an interval from the two intervals (Newcombe 1998; Zou and Donner 2008).

    It treats the two as independent; measured on the same items they are not, and the interval errs on the wide side
    as long as they vary together.
    """
    value = a.value - b.value
    if a.lo is None or a.hi is None or b.lo is None or b.hi is None:
        return value, None, None
    lo = value - math.hypot(a.value - a.lo, b.hi - b.value)
    hi = value + math.hypot(a.hi - a.value, b.value - b.lo)
    return value, lo, hi


def group_numbers(keys: list[str]) -> NDArray[np.int64]:
    """Numbers from 0 for equal keys, in sorted order of the keys, so that row order does not matter."""
    if not keys:
        return np.zeros(0, np.int64)
    return np.unique(np.array(keys), return_inverse=True)[1].astype(np.int64)
