"""Numbers that are known of both sides of pairs: ratings of completions and columns of score tables."""

import numpy as np
import polars as pl

from pref_assets.heads.base import Floats
from pref_assets.pool import Pool


def rated_sides(pool: Pool, pairs: pl.DataFrame, dimension: str) -> tuple[Floats, Floats]:
    """Mean rating in a dimension of the chosen and of the rejected completions, (n,) each.

    Raises:
        ValueError: a completion has no finite rating of it; says how many pairs and names some.
    """
    rated = pool.completions.select("completion_id", "ratings").explode("ratings", empty_as_null=False)
    rated = rated.drop_nulls("ratings").unnest("ratings").filter(pl.col("dimension") == dimension)
    # Sorted, because a mean of floats depends on their order.
    means = rated.sort("completion_id", "annotator", "value").group_by("completion_id").agg(pl.col("value").mean())
    sides = []
    for side in ("chosen", "rejected"):
        asked = pairs.select("pair_id", completion_id=f"{side}_id")
        found = asked.join(means, on="completion_id", how="left", maintain_order="left")["value"]
        sides.append(_known(pairs, found, f"rating of {dimension!r} on the {side} side"))
    return sides[0], sides[1]


def scored_sides(pool: Pool, pairs: pl.DataFrame, scores: str) -> tuple[Floats, Floats]:
    """``score_chosen`` and ``score_rejected`` of a score table, (n,) each. Raises ``ValueError`` as `rated_sides`."""
    sides = []
    for side in ("chosen", "rejected"):
        table = pool.value(scores, f"score_{side}")
        found = pairs.select("pair_id").join(table, on="pair_id", how="left", maintain_order="left")["value"]
        sides.append(_known(pairs, found, f"score_{side} in scores {scores!r}"))
    return sides[0], sides[1]


def _known(pairs: pl.DataFrame, values: pl.Series, what: str) -> Floats:
    broken = pairs["pair_id"].filter(~values.is_finite().fill_null(value=False))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(pairs)} pairs have no usable {what}, e.g. {broken.sort().head(3).to_list()}; "
            "leave these pairs out, or name another column"
        )
    result: Floats = values.to_numpy().astype(np.float64)
    return result
