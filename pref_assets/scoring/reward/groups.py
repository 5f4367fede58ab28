"""Rewards of several answers to one prompt: how they spread, and what a group-relative objective makes of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

STD_FLOOR = 1e-6
"""A spread of rewards up to this is rounding, not a difference between answers; it counts as none."""


def group_std(rewards: Sequence[float], floor: float = STD_FLOOR) -> float:
    """Population standard deviation of a group's rewards; 0 where it is at most ``floor`` times their size."""
    values = np.asarray(rewards, dtype=np.float64)
    std = float(values.std())
    return std if std > floor * max(1.0, float(np.abs(values).max())) else 0.0


def advantages(rewards: Sequence[float], eps: float = 1e-6, floor: float = STD_FLOOR) -> NDArray[np.float64]:
    """GRPO's advantages (r - mean) / (std + eps), shape (n,); zeros for a group without spread.

    Without the floor, rewards that differ by rounding alone would get advantages of any size.
    """
    values = np.asarray(rewards, dtype=np.float64)
    std = group_std(rewards, floor)
    return (values - values.mean()) / (std + eps) if std else np.zeros(len(values))
