"""Margins as probabilities: one temperature, and how reliable the result is."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def probability(margins: Floats, temperature: float) -> Floats:
    """s(temperature * margin): the calibrated probability that a label agrees, (n,)."""
    result: Floats = 0.5 * (1 + np.tanh(0.5 * temperature * margins))
    return result


def fit_temperature(margins: Floats, p_chosen: Floats) -> float:
    """The factor a >= 0 that minimises the mean of -p log s(a m) - (1 - p) log s(-a m) over margins m.

    One parameter and no intercept (Guo et al., arXiv:1706.04599, with a for 1/T): swapping the sides of a pair turns p
    into 1 - p. It is 0, so every probability 0.5, when the margins point the wrong way on average. Margins that
    separate the labels perfectly have no finite best factor; the search ends where the largest |a m| is 100.
    """
    largest = float(np.abs(margins).max(initial=0.0))
    if largest == 0 or _slope(0.0, margins, p_chosen) >= 0:
        return 0.0
    low, high = 0.0, 100 / largest
    for _ in range(200):  # the slope grows with the factor: halving reaches the limit of float64
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _slope(middle, margins, p_chosen) < 0 else (low, middle)
    return 0.5 * (low + high)


def _slope(factor: float, margins: Floats, p_chosen: Floats) -> float:
    return float(np.mean((probability(margins, factor) - p_chosen) * margins))


def reliability(margins: Floats, p_chosen: Floats, temperature: float, bins: int = 10) -> dict[str, float]:
    """``accuracy``, ``brier`` and ``ece`` of the calibrated margins against the labels.

    Each pair is judged on the side that the margin favours: confidence max(p, 1 - p) against the label's share for
    that side. The expected calibration error is the mean gap between the two over equal-width bins of confidence on
    [0.5, 1], weighted by pairs. A margin of zero counts half.
    """
    p = probability(margins, temperature)
    agree = np.where(margins > 0, p_chosen, np.where(margins < 0, 1 - p_chosen, 0.5))
    confidence = np.maximum(p, 1 - p)
    bin_of = np.minimum(((confidence - 0.5) * 2 * bins).astype(np.int64), bins - 1)
    gaps = np.abs(np.bincount(bin_of, confidence - agree, minlength=bins))
    return {
        "accuracy": float(agree.mean()),
        "brier": float(np.mean((p - p_chosen) ** 2)),
        "ece": float(gaps.sum() / len(p)),
    }
