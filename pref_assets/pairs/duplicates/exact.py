"""Rows that say again what was read before, word for word."""

import polars as pl

from pref_assets.pairs.duplicates.arrivals import in_order, rows_of


def exact_duplicates(table: pl.LazyFrame, key: str, arrival: pl.DataFrame) -> pl.DataFrame:
    """How much each batch repeats: frame (source, batch, rows, first, repeated), in order of arrival.

    ``rows`` are the rows of the batch behind items of the table, ``first`` the items that it brought, ``repeated`` the
    rows of items that an earlier row had brought.

    Args:
        table: ``PROMPTS``, ``COMPLETIONS``, ``COMPARISONS`` or ``PAIRS``.
        key: its id.
        arrival: source, batch, sequence: the order in which batches came.

    Raises:
        ArrivalError: a row's batch is not in ``arrival``.
    """
    rows = rows_of(table, key)
    read = rows.group_by("source", "batch").agg(rows=pl.len().cast(pl.Int64)).collect(engine="streaming")
    first = in_order(rows, arrival).group_by("source", "batch").agg(first=pl.len().cast(pl.Int64))
    counts = read.join(first, on=["source", "batch"], how="left").with_columns(pl.col("first").fill_null(0))
    ordered = counts.join(arrival, on=["source", "batch"]).sort("sequence", "source", "batch")
    return ordered.select("source", "batch", "rows", "first", repeated=pl.col("rows") - pl.col("first"))
