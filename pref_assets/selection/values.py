"""The number that candidates are ordered by: of a score table, or of the pairs themselves."""

import polars as pl

from pref_assets.pool import Pool
from pref_assets.selection.base import ranked

PAIR_COLUMNS = ("p_chosen", "strength")
"""Numbers that the pairs table itself holds of every pair."""


def candidate_values(pool: Pool, scores: str | None, column: str, *, may_lack: bool = False) -> pl.DataFrame:
    """The candidates, ordered by id, with that column (or named value) of the score table as ``score``; of the pairs
    table when no scores are named. Where values ``may_lack``, those of a score table do, and are null then.

    Raises:
        ValueError: a candidate has no such value, or a null, NaN or infinite one; says how many and names some.
    """
    if scores is not None and may_lack:
        usable = pl.when(pl.col("value").is_finite()).then("value")
        values = pool.value(scores, column).select("pair_id", score=usable)
        return pool.candidates().join(values, on="pair_id", how="left", validate="1:1", maintain_order="left")
    if scores is not None:
        return pool.scored(scores, column)
    if column not in PAIR_COLUMNS:
        raise ValueError(
            f"pairs have no number {column!r}, only {', '.join(PAIR_COLUMNS)}; name `scores` to use theirs"
        )
    found = pool.candidates().with_columns(score=pl.col(column))
    broken = found.filter(~(pl.col("score").is_not_null() & pl.col("score").is_finite()))["pair_id"]
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(found)} train pairs have no usable {column!r}, e.g. {broken.head(3).to_list()}; "
            "its source does not say; use another column"
        )
    return found


def in_order(scored: pl.DataFrame, seed: int, *, ascending: bool) -> pl.DataFrame:
    """Candidates from the best ``score`` to the worst, the lowest first if ``ascending``; ties by the seed."""
    sign = -1.0 if ascending else 1.0
    turned = ranked(scored.with_columns(score=sign * pl.col("score")), seed)
    return turned.with_columns(score=sign * pl.col("score"))
