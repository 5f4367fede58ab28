"""Prompts and completions that were read several times, each made one row that names every place."""

import polars as pl

from pref_assets.pairs.pairing import PROVENANCE_COLUMNS
from pref_assets.pairs.schema import PROVENANCE, RATINGS


def united_prompts(records: pl.DataFrame) -> pl.DataFrame:
    """One row a prompt; of several metadata, the first in the order of files and rows.

    Args:
        records: ``RECORD_PROMPTS``, all rows of each prompt in it.

    Returns:
        prompt_id, messages, images, context, metadata, provenance.
    """
    once = records.unique("prompt_id", keep="any").select("prompt_id", "messages", "images", "context")
    frame = once.join(_first_said(records, "prompt_id", "metadata"), on="prompt_id", how="left")
    return frame.join(provenance(records, "prompt_id"), on="prompt_id", how="left")


def united_completions(records: pl.DataFrame) -> pl.DataFrame:
    """One row a completion, with every distinct rating; of several models, the first in the order of rows.

    Args:
        records: ``RECORD_COMPLETIONS``, all rows of each completion in it.

    Returns:
        completion_id, prompt_id, messages, model, ratings, provenance.
    """
    once = records.unique("completion_id", keep="any").select("completion_id", "prompt_id", "messages")
    frame = once.join(_first_said(records, "completion_id", "model"), on="completion_id", how="left")
    frame = frame.join(_ratings(records), on="completion_id", how="left")
    frame = frame.with_columns(pl.col("ratings").cast(RATINGS).fill_null(pl.lit([], dtype=RATINGS)))
    return frame.join(provenance(records, "completion_id"), on="completion_id", how="left")


def provenance(records: pl.DataFrame, *key: str) -> pl.DataFrame:
    """Every row of each key, sorted, as column ``provenance``."""
    place = pl.struct(PROVENANCE_COLUMNS).cast(PROVENANCE.inner)
    one, several = _parted(records.select(*key, *PROVENANCE_COLUMNS).unique(), key)
    alone = one.select(*key, provenance=place.reshape((-1, 1)).arr.to_list())
    return pl.concat([alone, several.group_by(key).agg(provenance=place)])


def _first_said(records: pl.DataFrame, key: str, column: str) -> pl.DataFrame:
    """Of each key that has any, the value of ``column`` in its first row."""
    said = records.select(key, column, *PROVENANCE_COLUMNS).filter(pl.col(column).is_not_null())
    one, several = _parted(said, (key,), column)
    return pl.concat([one, several.unique(key, keep="first")]).select(key, column)


def _parted(rows: pl.DataFrame, key: tuple[str, ...], *last: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows whose key no other has, and the rest in the order of their places. Nearly all rows are alone, and sorting
    only the rest takes half the time of sorting all."""
    alone = pl.len().over(key) == 1
    return rows.filter(alone), rows.filter(~alone).sort(*PROVENANCE_COLUMNS, *last, nulls_last=True)


def _ratings(records: pl.DataFrame) -> pl.DataFrame:
    fields = ["dimension", "annotator", "value", "rationale"]
    return (
        records.filter(pl.col("ratings").list.len() > 0)
        .select("completion_id", "ratings")
        .explode("ratings")
        .unnest("ratings")
        .unique()
        .sort("completion_id", *fields, nulls_last=True)
        .group_by("completion_id", maintain_order=True)
        .agg(pl.struct("dimension", "value", "annotator", "rationale").alias("ratings"))
    )
