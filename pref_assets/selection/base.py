"""The joint of selection: a pool goes in, a decision for every pair comes out."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
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

    def rows(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of ``ids``, (len(ids), d), in that order.

        Raises:
            ValueError: an id has no vector, or one with NaN or infinite values; says how many and names some.
        """
        position = {id_: row for row, id_ in enumerate(self.ids)}
        absent = sorted({id_ for id_ in ids if id_ not in position})
        if absent:
            raise ValueError(
                f"{len(absent)} ids have no embedding, e.g. {absent[:3]}; materialize the embeddings again"
            )
        found = self.matrix[[position[id_] for id_ in ids]]
        broken = sorted({ids[int(row)] for row in np.flatnonzero(~np.isfinite(found).all(axis=1))})
        if broken:
            raise ValueError(f"{len(broken)} embeddings hold NaN or infinite values, e.g. {broken[:3]}")
        return found


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

    def candidates(self) -> pl.DataFrame:
        """The ``train`` pairs, ordered by id."""
        return self.pairs.filter(pl.col("split") == "train").sort("pair_id")

    def scored(self, name: str, column: str) -> pl.DataFrame:
        """The candidates and ``score``: that column of a score table.

        Raises:
            ValueError: a candidate has no score, or a null, NaN or infinite one; says how many and names some.
        """
        table = self.scores[name].select("pair_id", pl.col(column).alias("score"))
        scored = self.candidates().join(table, on="pair_id", how="left", validate="1:1", maintain_order="left")
        usable = pl.col("score").is_not_null() & pl.col("score").is_finite()
        broken = scored.filter(~usable)["pair_id"]
        if len(broken):
            raise ValueError(
                f"{len(broken)} of {len(scored)} train pairs have no usable {column!r} in scores {name!r}, "
                f"e.g. {broken.head(3).to_list()}; materialize the scores again, or rank by another column"
            )
        return scored


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
        give equal decisions whatever the row order; pairs outside ``train`` are never selected (reason ``held_out``);
        the selected pairs hold the ranks from 1 on.
        """
        raise NotImplementedError


def seeded_hash(ids: Iterable[str], seed: int, purpose: str) -> pl.Series:
    """A uniform 64-bit number for each id that depends on nothing but id, seed and purpose: random, yet stable."""
    key = f"{purpose}:{seed}".encode()[:64]
    digests = (hashlib.blake2b(id_.encode(), digest_size=8, key=key).digest() for id_ in ids)
    return pl.Series("hash", [int.from_bytes(each) for each in digests], dtype=pl.UInt64)


def ranked(candidates: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Candidates from the highest ``score`` down; equal scores in an order drawn from the seed, never row order."""
    hashes = seeded_hash(candidates["pair_id"], seed, "tie")
    return candidates.with_columns(hash=hashes).sort(["score", "hash"], descending=[True, False]).drop("hash")


def decide(pool: Pool, order: pl.DataFrame) -> pl.DataFrame:
    """The ``DECISIONS`` of a pool from its candidates in the order they were taken or turned down.

    ``order`` has pair_id, selected, reason and optionally score, weight and stage; its row order becomes the rank.
    All other pairs of the pool are ``held_out``.
    """
    ranked_rows = order.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    held_out = pool.pairs.filter(pl.col("split") != "train").select(
        "pair_id", selected=pl.lit(False), reason=pl.lit("held_out")
    )
    return decisions(pl.concat([ranked_rows, held_out], how="diagonal"))


def decisions(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with at least pair_id, selected and reason as a full ``DECISIONS`` table."""
    defaults = {
        "rank": pl.lit(None, pl.Int64),
        "score": pl.lit(None, pl.Float64),
        "weight": pl.lit(1.0),
        "stage": pl.lit(1, pl.Int64),
    }
    frame = frame.with_columns(
        pl.col(name).fill_null(expr) if name in frame.columns else expr.alias(name) for name, expr in defaults.items()
    )
    return DECISIONS.conform(frame.select(list(DECISIONS.columns)).sort("pair_id"))
