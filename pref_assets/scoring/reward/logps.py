"""Log-probabilities of both sides of every pair."""

import polars as pl

from pref_assets.pool import Pool
from pref_assets.scoring.base import sides

TIE = 0.01
"""Difference of log-probabilities, in nats, up to which two answers count as equally likely (arXiv 2405.19534)."""


def reference_sides(pool: Pool, name: str) -> pl.DataFrame:
    """The pairs, ordered by id, with logp and n_tokens of each side under a ``reference_logps`` entry.

    Raises:
        ValueError: a side has no log-probability, or one that is NaN or infinite; says how many and names some.
    """
    table = pool.reference_logps[name].rename({"completion_id": "id"})
    return complete(sides(pool.pairs, table, ["logp", "n_tokens"]), f"reference_logps {name!r}")


def complete(frame: pl.DataFrame, source: str) -> pl.DataFrame:
    """The frame, when both ``logp_chosen`` and ``logp_rejected`` are numbers. Raises as ``reference_sides`` does."""
    both = pl.col("logp_chosen", "logp_rejected")
    broken = frame.filter(~pl.all_horizontal(both.is_not_null() & both.is_finite().fill_null(value=False)))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(frame)} pairs have no usable log-probability in {source}, "
            f"e.g. {broken['pair_id'].head(3).to_list()}; it has to cover every pair: materialize it again"
        )
    return frame


def rank_correct(margin: pl.Expr, tie: float) -> pl.Expr:
    """1 where the margin is positive, 0 where it is negative, .5 where it is no larger than ``tie``."""
    return pl.when(margin.abs() <= tie).then(0.5).otherwise((margin > 0).cast(pl.Float64))
