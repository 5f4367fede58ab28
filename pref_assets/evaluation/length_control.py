"""What share of duels a model would win if its answers were as long as the other's."""

import numpy as np
from numpy.typing import NDArray

from pref_assets.evaluation.draws import Drawn
from pref_assets.scoring.logistic import fit_heads

Floats = NDArray[np.float64]


def length_controlled(
    points: Floats, lengths: Floats, groups: NDArray[np.int64], l2: float, seed: int, resamples: int
) -> Drawn:
    """Win rate at equal length: s(theta) of the logistic regression ``points ~ s(theta + phi tanh(length / std))``.

    AlpacaEval 2 (Dubois et al. 2024, arXiv:2404.04475) without its term for the difficulty of an instruction, whose
    values come from many models' annotations. Both coefficients are shrunk by ``l2`` / 2 times their squares (choice;
    AlpacaEval cross-validates an L1 penalty), so that a model that wins everything has a finite theta. Swapping the
    models turns the result into one minus it, and a model against itself has one half.

    Args:
        points: (n,) share of each win, in [0, 1].
        lengths: (n,) ours minus theirs, in any unit.
        groups: (n,) what is resampled together, numbers from 0 without gaps.
    """
    spread = lengths.std()
    # Equal lengths say nothing of length; around zero, not the mean, so that swapping the models mirrors them.
    slope = np.tanh(lengths / spread) if spread > 0 else np.zeros(len(lengths))
    design = np.column_stack([np.ones(len(points)), slope])
    count = int(groups.max()) + 1
    generator = np.random.default_rng(seed)
    drawn = [np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(resamples)]
    times = np.stack([np.ones(count, np.int64), *drawn], axis=1)[groups].astype(np.float64)
    theta = fit_heads(design, points, times, l2)[0]
    rates = 0.5 * (1 + np.tanh(0.5 * theta))
    return Drawn(float(rates[0]), rates[1:] if count > 1 else None, len(points))
