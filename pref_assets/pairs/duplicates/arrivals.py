"""Which item came first."""

import polars as pl

_ROW = ("source", "batch", "uri", "row")


class ArrivalError(LookupError):
    """Rows are of a batch whose place in the order of arrival is not known; the message names it."""


def in_order(items: pl.LazyFrame, arrival: pl.DataFrame) -> pl.DataFrame:
    """Each id once, with the batch that first brought it: frame (id, source, batch), the earliest first.

    An item's arrival is the smallest sequence of its rows' batches, then the first (uri, row), then its id.

    Args:
        items: id, source, batch, uri, row; several rows an id.
        arrival: source, batch, sequence.

    Raises:
        ArrivalError: a row's source and batch are not in ``arrival``.
    """
    known = arrival.lazy().select("source", "batch", "sequence")
    rows = items.select("id", *_ROW).join(known, on=["source", "batch"], how="left").collect(engine="streaming")
    unknown = rows.filter(pl.col("sequence").is_null())
    if unknown.height:
        source, batch = unknown.select("source", "batch").row(0)
        raise ArrivalError(f"{unknown.height} rows are of batches that were never registered, e.g. {source}/{batch}")
    ordered = rows.sort("sequence", "uri", "row", "id")
    return ordered.unique("id", keep="first", maintain_order=True).select("id", "source", "batch")


def rows_of(table: pl.LazyFrame, key: str) -> pl.LazyFrame:
    """id, source, batch, uri, row of every row behind the items of a table with ``provenance``."""
    return table.select(pl.col(key).alias("id"), "provenance").explode("provenance").unnest("provenance")
