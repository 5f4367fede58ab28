"""Small records for tests, read through the real readers."""

import json
from typing import Any

import polars as pl

from pref_assets.pairs.readers import CompletionsSource, Records, Source, TrlSource
from pref_assets.pairs.schema import RAW


def raw(rows: list[Any], uri: str = "rows.jsonl", source: str = "s", batch: str = "b1", start: int = 1) -> pl.DataFrame:
    """Rows as a raw frame, numbered from ``start``; a string is a payload as it is."""
    return RAW.frame(
        {
            "source": source,
            "uri": uri,
            "row": start + index,
            "batch": batch,
            "payload": row if isinstance(row, str) else json.dumps(row),
        }
        for index, row in enumerate(rows)
    )


def read(rows: list[Any], reader: Source | None = None, **where: Any) -> Records:
    return (reader or TrlSource(location="rows.jsonl")).read(raw(rows, **where))


def read_completions(rows: list[Any], **where: Any) -> Records:
    return read(rows, CompletionsSource(location="rows.jsonl"), **where)


def together(*parts: Records) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Prompts, completions and votes of several batches."""
    return (
        pl.concat(part.prompts for part in parts),
        pl.concat(part.completions for part in parts),
        pl.concat(part.votes for part in parts),
    )


def refusals(records: Records) -> list[tuple[int, str]]:
    return records.quarantine.select("row", "code").rows()
