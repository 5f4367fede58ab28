"""From files and hub data sets to raw rows: every row is kept as read, whether it can be used or not."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from pref_assets.pairs.locations import is_hub
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.places import place_of
from pref_assets.pairs.reading.errors import UnreadableError
from pref_assets.pairs.reading.files import file_parts
from pref_assets.pairs.reading.hub import hub_parts, pin_hub
from pref_assets.pairs.reading.limits import ReadingLimits
from pref_assets.pairs.reading.parse import RowFault, json_type, parse_row
from pref_assets.pairs.reading.rows import raw_frames
from pref_assets.pairs.schema import RAW

__all__ = [
    "ReadingLimits",
    "RowFault",
    "UnreadableError",
    "json_type",
    "parse_row",
    "pin_hub",
    "read_chunks",
    "read_hub",
    "read_rows",
]

_ROWS = 10_000
_LIMITS = ReadingLimits()


def read_chunks(
    place: Path | str,
    uri: str,
    source: str,
    batch: str,
    *,
    rows: int = _ROWS,
    limits: ReadingLimits = _LIMITS,
    media: MediaStore | None = None,
) -> Iterator[pl.DataFrame]:
    """The rows of a file or hub data set as ``RAW`` frames, in file order; memory does not grow with the file.

    JSON lines are numbered by line (blank lines count but hold no row), elements of a JSON list and rows of tables by
    position; numbers start at 1. A row that is no usable JSON object keeps its text, or the beginning of it, and gets
    a code: ``not_utf8``, ``not_json``, ``not_an_object``, ``not_finite``, ``duplicate_key``, ``too_long``,
    ``wrong_columns`` or ``not_csv`` (CSV), or ``unreadable_member`` (row 0: a whole file in a zip archive).

    Args:
        place: a path on this machine, a URL for fsspec, or a hub location.
        uri: what provenance shows for it.
        source: name of the source in the pipeline file.
        batch: partition key.
        rows: most rows of a frame; a frame ends earlier at ``limits.chunk_bytes``.
        limits: what is too much for a row or an archive.
        media: where binary values go; without it they stay in the rows as base64.

    Raises:
        UnreadableError: the file as a whole cannot be read (damaged archive, another type than its name says).
        OSError: the file is missing or may not be read.
    """
    if isinstance(place, str) and is_hub(place):
        parts = hub_parts(place, uri, media)
    else:
        parts = file_parts(place_of(place) if isinstance(place, str) else place, uri, limits, media)
    return raw_frames(parts, source, batch, rows, limits)


def read_rows(path: Path, uri: str, source: str, batch: str) -> pl.DataFrame:
    """All rows of a file as one ``RAW`` frame; for files that fit in memory. Raises as ``read_chunks`` does."""
    return pl.concat([RAW.empty(), *read_chunks(path, uri, source, batch)])


def read_hub(location: str, source: str, batch: str) -> pl.DataFrame:
    """All rows of a hub data set as one ``RAW`` frame; raises as ``read_chunks`` does."""
    return pl.concat([RAW.empty(), *read_chunks(location, location, source, batch)])
