"""What raters say of completions, one dimension at a time, as targets of heads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pref_assets.heads.base import Floats
from pref_assets.pool import Pool


@dataclass(frozen=True)
class Rated:
    """Completions with at least one rating: ``ids`` (m,), the prompt of each, and the mean rating in each dimension,
    ``values`` (m, K), NaN where nobody rated it."""

    ids: list[str]
    prompts: pl.Series
    values: Floats


def ratings_of(pool: Pool, pairs: pl.DataFrame, dimensions: Sequence[str] | None) -> pl.DataFrame:
    """Every finite rating of the pairs' completions: frame (completion_id, prompt_id, dimension, value), sorted.

    Raises:
        ValueError: none of them was rated in one of the dimensions (``None``: in any); says which there are.
    """
    ids = pl.concat([pairs.select(completion_id=side) for side in ("chosen_id", "rejected_id")]).unique()
    rated = pool.completions.join(ids, on="completion_id", how="semi").explode("ratings").drop_nulls("ratings")
    rated = rated.select("completion_id", "prompt_id", pl.col("ratings").struct.unnest())
    rated = rated.filter(pl.col("value").is_finite())
    known = sorted(rated["dimension"].drop_nulls().unique())
    missing = [name for name in dimensions if name not in known] if dimensions is not None else []
    if missing or rated.is_empty():
        raise ValueError(
            f"none of the {len(ids)} completions of these {len(pairs)} pairs has ratings"
            + (f" of {', '.join(map(repr, missing))}" if missing else "")
            + f"; rated dimensions: {', '.join(map(repr, known)) or 'none'}"
        )
    if dimensions is not None:
        rated = rated.filter(pl.col("dimension").is_in(list(dimensions)))
    columns = ["completion_id", "prompt_id", "dimension", "value"]
    return rated.select(columns).sort(columns)


def rated_completions(pool: Pool, pairs: pl.DataFrame, dimensions: Sequence[str]) -> Rated:
    """The pairs' completions that were rated, with the mean over raters in each dimension. Raises as ``ratings_of``."""
    wide = (
        ratings_of(pool, pairs, dimensions)
        .group_by("completion_id", "prompt_id")
        .agg(pl.col("value").filter(dimension=name).mean().alias(f"{k}") for k, name in enumerate(dimensions))
        .sort("completion_id")
    )
    values = wide.select(pl.col(f"{k}").fill_null(np.nan) for k in range(len(dimensions))).to_numpy()
    return Rated(wide["completion_id"].to_list(), wide["prompt_id"], values.astype(np.float64))


def dimension_labels(pool: Pool, pairs: pl.DataFrame, dimensions: Sequence[str]) -> Floats:
    """Which side each dimension prefers, (n, K): 1 the chosen, 0 the rejected, 0.5 neither, NaN where nobody said.

    The share of the votes in that dimension where there are any, otherwise what the mean ratings of the sides say.
    """
    votes = pairs.select("pair_id", pl.col("votes")).explode("votes").drop_nulls("votes")
    votes = votes.select("pair_id", pl.col("votes").struct.unnest())
    said = pl.col("choice").replace_strict({"chosen": 1.0, "rejected": 0.0, "tie": 0.5}, return_dtype=pl.Float64)
    voted = votes.group_by("pair_id", "dimension").agg(share=said.mean())
    labels = np.full((len(pairs), len(dimensions)), np.nan)
    ratings = pool.completions.explode("ratings").drop_nulls("ratings")
    ratings = ratings.select("completion_id", pl.col("ratings").struct.unnest()).filter(pl.col("value").is_finite())
    means = ratings.group_by("completion_id", "dimension").agg(pl.col("value").mean())
    for k, name in enumerate(dimensions):
        rated = means.filter(dimension=name)
        frame = pairs.select("pair_id", "chosen_id", "rejected_id")
        frame = frame.join(voted.filter(dimension=name), on="pair_id", how="left", maintain_order="left")
        for side in ("chosen", "rejected"):
            of_side = rated.select(pl.col("completion_id").alias(f"{side}_id"), pl.col("value").alias(side))
            frame = frame.join(of_side, on=f"{side}_id", how="left", maintain_order="left")
        by_rating = (pl.col("chosen") - pl.col("rejected")).sign() / 2 + 0.5
        labels[:, k] = frame.select(pl.coalesce("share", by_rating).fill_null(np.nan)).to_series().to_numpy()
    return labels
