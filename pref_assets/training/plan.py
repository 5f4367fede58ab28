"""What happens at which step: pure functions of configuration and step number, so that a resumed run agrees."""

import math
from collections.abc import Sequence

import numpy as np

from pref_assets.training.config import Training


def batch_plan(stages: Sequence[int], settings: Training) -> list[list[int]]:
    """Row numbers of each optimiser step.

    Stages train in ascending order. Each epoch of a stage visits its rows once, shuffled by seed, stage and epoch; its
    last batch may be smaller.

    Args:
        stages: stage of each row, rows in a canonical order.
        settings: epochs, batch_pairs and seed.
    """
    plan = []
    for stage in sorted(set(stages)):
        rows = np.flatnonzero(np.asarray(stages) == stage)
        for epoch in range(settings.epochs):
            order = np.random.default_rng([settings.seed, stage, epoch]).permutation(rows)
            plan += [order[i : i + settings.batch_pairs].tolist() for i in range(0, len(order), settings.batch_pairs)]
    return plan


def learning_rate(step: int, steps: int, settings: Training) -> float:
    """Learning rate of ``step`` (from 0) of ``steps``: linear warm-up, then the schedule, zero after the last step."""
    warmup = math.ceil(settings.warmup * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    factor = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[settings.schedule]
    return settings.learning_rate * factor
