"""What annotators said of answers, and which answers are asked about: what every kind of critique begins with."""

from collections.abc import Sequence

import polars as pl

from pref_assets.pool import Pool


def compared(pool: Pool) -> pl.DataFrame:
    """Frame (completion_id) of the answers that some pair compares, ordered by id."""
    sides = pl.concat([pool.pairs["chosen_id"], pool.pairs["rejected_id"]])
    return pl.DataFrame({"completion_id": sides.unique().sort()}, schema={"completion_id": pl.String})


def said(pool: Pool, dimensions: Sequence[str]) -> pl.DataFrame:
    """Frame (completion_id, dimension, reason) of the rationales of ratings on the dimensions: each text once an
    answer, by answer, then in the order of ``dimensions`` and of the texts; whitespace around them and empty ones are
    left out."""
    order = {name: place for place, name in enumerate(dimensions)}
    rows = pool.completions.select("completion_id", "ratings").explode("ratings", empty_as_null=False)
    return (
        rows.drop_nulls("ratings")
        .unnest("ratings")
        .filter(pl.col("dimension").is_in(list(dimensions)))
        .select("completion_id", "dimension", reason=pl.col("rationale").str.strip_chars())
        .filter(pl.col("reason") != "")
        .with_columns(place=pl.col("dimension").replace_strict(order, return_dtype=pl.Int64))
        .sort("completion_id", "place", "reason")
        .unique(["completion_id", "reason"], keep="first", maintain_order=True)
        .drop("place")
    )


def joined(reasons: pl.DataFrame) -> pl.DataFrame:
    """Frame (completion_id, reasons) of what ``said`` gave: the texts of an answer with spaces between."""
    return reasons.group_by("completion_id", maintain_order=True).agg(reasons=pl.col("reason").str.join(" "))
