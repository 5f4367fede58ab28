"""The joint of selection: a pool goes in, a decision for every pair comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from pref_assets.pairs.schema import DECISIONS
from pref_assets.settings import Settings


@dataclass(frozen=True)
class Vectors:
    """Embeddings: ``matrix`` (n, d) float32, row ``i`` belongs to ``ids[i]``."""

    ids: list[str]
    matrix: NDArray[np.float32]


@dataclass(frozen=True)
class Pool:
    """What a selector may look at.

    Attributes:
        pairs: the pairs table, all splits; only ``train`` pairs are candidates.
        completions: the completions table.
        scores: score tables (``PAIR_SCORES``) by the name they have in the pipeline file.
        embeddings: vectors of completions by name.
        clusters: cluster tables by name.
    """

    pairs: pl.DataFrame
    completions: pl.DataFrame
    scores: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    embeddings: Mapping[str, Vectors] = field(default_factory=dict)
    clusters: Mapping[str, pl.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """How much to keep: a number of pairs, or a fraction of the candidates."""

    count: int | None = None
    fraction: float | None = None

    @classmethod
    def parse(cls, value: Any) -> "Budget":
        """Reads ``96``, ``"25%"`` or ``0.25``. Raises ``ValueError`` on anything else."""
        if isinstance(value, Budget):
            return value
        if isinstance(value, str) and value.strip().endswith("%"):
            number = float(value.strip()[:-1]) / 100
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return cls(count=value)
        elif isinstance(value, float):
            number = value
        else:
            raise ValueError(f"a budget is a number of pairs (96) or a share of the candidates ('25%'), not {value!r}")
        if not 0 < number <= 1:
            raise ValueError(f"a budget share lies in (0 %, 100 %], not {value!r}")
        return cls(fraction=number)

    def resolve(self, candidates: int) -> int:
        """Number of pairs to keep. Raises ``ValueError`` when a count is larger than the pool."""
        if self.count is not None:
            if self.count > candidates:
                raise ValueError(f"budget of {self.count} pairs, but only {candidates} candidates")
            return self.count
        assert self.fraction is not None
        return max(1, round(self.fraction * candidates)) if candidates else 0

    def text(self) -> int | str:
        return self.count if self.count is not None else f"{100 * (self.fraction or 0):g}%"


BudgetField = Annotated[
    Budget,
    BeforeValidator(Budget.parse),
    PlainSerializer(lambda budget: budget.text(), return_type=int | str),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "%$"}, {"type": "number"}]}
    ),
]


class Selector(Settings):
    """Decides which pairs train. Subclasses set ``type`` and implement ``select``."""

    seed: int = Field(default=0, ge=0)
    """Seed of every random choice, tie-breaks included."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """A ``DECISIONS`` row for every pair of the pool.

        Invariants every selector keeps (and its test states): exactly the budget is selected; equal inputs and seed
        give equal decisions whatever the row order; pairs outside ``train`` are never selected (reason ``held_out``).
        """
        raise NotImplementedError


def decisions(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with at least pair_id, selected and reason as a full ``DECISIONS`` table."""
    defaults = {
        "rank": pl.lit(None, pl.Int64),
        "score": pl.lit(None, pl.Float64),
        "weight": pl.lit(1.0),
        "stage": pl.lit(1, pl.Int64),
    }
    frame = frame.with_columns(expr.alias(name) for name, expr in defaults.items() if name not in frame.columns)
    return DECISIONS.conform(frame.select(list(DECISIONS.columns)).sort("pair_id"))
