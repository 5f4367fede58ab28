"""Which reader a file gets, by the end of its name."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pref_assets.pairs.locations import SUFFIXES
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.reading.columnar import arrow_rows, parquet_rows
from pref_assets.pairs.reading.documents import document_rows
from pref_assets.pairs.reading.errors import UnreadableError
from pref_assets.pairs.reading.limits import ReadingLimits
from pref_assets.pairs.reading.lines import line_rows
from pref_assets.pairs.reading.rows import Row
from pref_assets.pairs.reading.streams import Opener, Place, open_place, text_of, unpacked

Parts = Iterator[tuple[str, Iterator[Row]]]
"""Files, one or those of an archive, each with its uri and rows."""


def file_parts(place: Place, uri: str, limits: ReadingLimits, media: MediaStore | None) -> Parts:
    """The rows of a file. Raises ``UnreadableError`` or ``OSError``, also while rows are read."""
    name = (place.name if isinstance(place, Path) else place).lower()
    yield uri, member_rows(name, uri, lambda: open_place(place), limits, media)


def member_rows(name: str, uri: str, opener: Opener, limits: ReadingLimits, media: MediaStore | None) -> Iterator[Row]:
    """The rows of one file that is no archive of files; its name says what it is."""
    if name.endswith(".parquet"):
        yield from parquet_rows(opener(), uri, media)
        return
    if name.endswith(".arrow"):
        yield from arrow_rows(opener(), uri, media)
        return

    def text() -> BinaryIO:
        stream = opener()
        return text_of(unpacked(stream, uri, _size(stream), limits) if name.endswith(".gz") else stream, uri)

    plain = name.removesuffix(".gz")
    if plain.endswith(".jsonl"):
        yield from line_rows(text(), limits)
    elif plain.endswith(".json"):
        yield from document_rows(text, limits)
    else:
        raise UnreadableError(f"{uri}: cannot read this type of file; readable are {', '.join(SUFFIXES)}")


def _size(stream: BinaryIO) -> int:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return size
