"""The joint of selection: a pool goes in, a decision for every pair comes out."""

import polars as pl
from pydantic import Field

from pref_assets.pairs.schema import DECISIONS
from pref_assets.pool import Pool, seeded_hash
from pref_assets.settings import Settings


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


def ranked(candidates: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Candidates from the highest ``score`` down, those without one last; equal scores in an order drawn from the seed,
    never row order."""
    hashes = seeded_hash(candidates["pair_id"], seed, "tie")
    order = candidates.with_columns(hash=hashes).sort(["score", "hash"], descending=[True, False], nulls_last=True)
    return order.drop("hash")


def decide(pool: Pool, order: pl.DataFrame) -> pl.DataFrame:
    """The ``DECISIONS`` of a pool from its candidates in the order they were taken or turned down.

    ``order`` has pair_id, selected, reason and optionally score, weight, stage, p_chosen and margin; its row order
    becomes the rank, the selected ones first. All other pairs of the pool are ``held_out``.
    """
    order = order.sort("selected", descending=True, maintain_order=True)
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
        "p_chosen": pl.lit(None, pl.Float64),
        "margin": pl.lit(None, pl.Float64),
    }
    frame = frame.with_columns(
        pl.col(name).fill_null(expr) if name in frame.columns else expr.alias(name) for name, expr in defaults.items()
    )
    return DECISIONS.conform(frame.select(list(DECISIONS.columns)).sort("pair_id"))
