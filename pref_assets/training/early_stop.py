"""When to stop before the plan ends: a pure decision from losses on held-out pairs, part of the resumable state."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import polars as pl
from pydantic import Field

from pref_assets.settings import Settings
from pref_assets.training.errors import TrainingDataError


class EarlyStop(Settings):
    """Stops when the mean loss on held-out pairs no longer falls, and keeps the weights where it was lowest.

    Prechelt 1998, "Early stopping - but when?". The pairs of some prompts are held out of training for it; dropout,
    where there is any, stays on with the same masks at each measurement.
    """

    every: int = Field(default=10, ge=1)
    """Steps between two measurements; there is one after the last step too."""
    patience: int = Field(default=3, ge=1)
    """Measurements in a row without a lower loss after which training stops."""
    min_delta: float = Field(default=0.0, ge=0)
    """A loss is lower when it is so by more than this."""
    heldout: float = Field(default=0.1, gt=0, lt=1)
    """Share of the prompts whose pairs are held out, at least one prompt."""


@dataclass
class Watch:
    """What was measured so far."""

    best_loss: float = math.inf
    best_step: int = 0
    waited: int = 0
    """Measurements since the best one."""

    @classmethod
    def of(cls, notes: dict[str, Any]) -> Self:
        """From what ``notes`` returned, or afresh from nothing."""
        return cls(**notes)

    def notes(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def measured(self, step: int, loss: float, settings: EarlyStop) -> bool:
        """Takes a measurement after ``step``; whether it is the best so far."""
        if loss < self.best_loss - settings.min_delta:
            self.best_loss, self.best_step, self.waited = loss, step, 0
            return True
        self.waited += 1
        return False

    def stops(self, settings: EarlyStop) -> bool:
        return self.waited >= settings.patience


def heldout_rows(rows: pl.DataFrame, settings: EarlyStop, seed: int) -> list[int]:
    """Row numbers of the pairs to hold out: those of the share of prompts whose hashes with the seed come first.

    Raises:
        TrainingDataError: there is only one prompt.
    """
    prompts = [json.dumps(prompt, ensure_ascii=False, sort_keys=True) for prompt in rows["prompt"].to_list()]
    order = sorted(set(prompts), key=lambda prompt: hashlib.sha256(f"{seed} {prompt}".encode()).digest())
    if len(order) < 2:
        raise TrainingDataError(
            "early_stop needs pairs of at least two prompts, to train on one and measure on another"
        )
    held = set(order[: min(len(order) - 1, math.ceil(settings.heldout * len(order)))])
    return [row for row, prompt in enumerate(prompts) if prompt in held]
