"""Bradley-Terry ratings of players from who beat whom, on the scale of Elo."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pref_assets.evaluation.intervals import Z95, Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCALE = 400 / np.log(10)
"""Points of rating for one unit of log odds: 400 points are odds of ten to one."""
MEAN = 1000.0
"""Mean rating."""
STEPS = 100


class NoRatingError(ValueError):
    """The matches have no finite ratings; the message says what to do."""


@dataclass(frozen=True)
class Matches:
    """n comparisons between k players.

    Attributes:
        players: names, (k,).
        first, second: (n,) player numbers.
        outcome: (n,) share of the win that goes to ``first``: 1, 0, or 0.5 for a tie.
        groups: (n,) what is resampled together (a prompt), numbers from 0 without gaps.
    """

    players: Sequence[str]
    first: Ints
    second: Ints
    outcome: Floats
    groups: Ints

    def wins(self, times: Floats) -> Floats:
        """(k, k): how often the row's player beat the column's, match ``i`` counted ``times[i]`` times."""
        k = len(self.players)
        won = np.bincount(self.first * k + self.second, weights=times * self.outcome, minlength=k * k)
        lost = np.bincount(self.second * k + self.first, weights=times * (1 - self.outcome), minlength=k * k)
        table: Floats = (won + lost).reshape(k, k).astype(np.float64)
        return table


def fit_ratings(wins: Floats, l2: float, tolerance: float = 1e-9) -> Floats:
    """Log odds ``w``, (m, k), that minimise, for each of m tables of wins (m, k, k),

        sum_ij wins_ij log(1 + exp(w_j - w_i)) + l2/2 |w|^2,   with mean 0.

    Logistic regression without intercept on +1 for the first and -1 for the second player, a tie being half a win for
    each (two rows of half the weight). ``l2`` = 1 is scikit-learn's C = 1. Newton's method; O(m k^3) a step.

    Raises:
        NoRatingError: a player only won or only lost and ``l2`` is 0, or two groups of players never met.
    """
    m, k, _ = wins.shape
    if l2 == 0 and not _beaten_back(wins):
        raise NoRatingError(_ADVICE)
    w = np.zeros((m, k))
    played = wins + wins.transpose(0, 2, 1)
    # The ratings' mean is free without a penalty; this pins it without moving anything else.
    pin = np.full((k, k), 1.0 / k)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(w[:, None, :] - w[:, :, None]))
        slope = (played * p - wins).sum(axis=2) + l2 * w
        if np.abs(slope).max(initial=0.0) <= tolerance * max(1.0, float(played.max(initial=0.0))):
            return np.asarray(w - w.mean(axis=1, keepdims=True))
        weight = played * p * (1 - p)
        curvature = -weight
        curvature[:, np.arange(k), np.arange(k)] += weight.sum(axis=2) + l2
        step = np.linalg.solve(curvature + pin, slope[..., None])[..., 0]
        # A full step from far away overshoots; two units of log odds at a time do not.
        w = w - step * np.minimum(1, 2 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-300))
    raise NoRatingError(f"ratings did not converge in {STEPS} steps; raise l2 (now {l2:g})")


def _beaten_back(wins: Floats) -> bool:
    """Whether in every table each player beat each other one, itself or through others (Ford 1957): then, and only
    then, are there finite ratings without a penalty."""
    reach = (wins > 0) | np.eye(wins.shape[1], dtype=bool)
    for _ in range(int(wins.shape[1]).bit_length()):
        reach = np.matmul(reach.astype(np.float64), reach.astype(np.float64)) > 0
    return bool(reach.all())


_ADVICE = "ratings do not exist: a player won or lost every match, or groups of players never met; set l2 above 0"


def ratings(matches: Matches, l2: float, seed: int, resamples: int) -> list[Estimate]:
    """Rating of each player: 400 points for odds of ten to one, mean 1000.

    The 95 % interval is the rating with 1.96 standard deviations of its resamples (groups drawn whole) to each side,
    as Music Arena (arXiv:2507.20900) has it; null with fewer than two groups. ``n`` is the player's matches.

    Raises:
        NoRatingError: see ``fit_ratings``; of resamples, the penalty must keep all finite.
    """
    once = np.ones(len(matches.outcome))
    values = SCALE * fit_ratings(matches.wins(once)[None], l2)[0] + MEAN
    played = np.bincount(np.concatenate([matches.first, matches.second]), minlength=len(matches.players))
    count = int(matches.groups.max()) + 1 if len(matches.groups) else 0
    if count < 2:
        return [Estimate(float(v), None, None, int(n)) for v, n in zip(values, played, strict=True)]
    generator = np.random.default_rng(seed)
    drawn = (np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(resamples))
    tables = np.stack([matches.wins(times[matches.groups].astype(np.float64)) for times in drawn])
    spread = (SCALE * fit_ratings(tables, l2)).std(axis=0, ddof=1)
    return [
        Estimate(float(v), float(v - Z95 * s), float(v + Z95 * s), int(n))
        for v, s, n in zip(values, spread, played, strict=True)
    ]
