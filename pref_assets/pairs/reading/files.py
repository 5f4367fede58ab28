"""Which reader a file gets, by the end of its name."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO
from zipfile import ZipInfo

from pref_assets.pairs.locations import SUFFIXES
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.object_stores import object_state
from pref_assets.pairs.places import Place
from pref_assets.pairs.reading.archives import UNREADABLE_MEMBER, Archive, or_one_fault
from pref_assets.pairs.reading.columnar import arrow_rows, parquet_rows
from pref_assets.pairs.reading.comma import csv_rows
from pref_assets.pairs.reading.documents import document_rows
from pref_assets.pairs.reading.errors import UnreadableError
from pref_assets.pairs.reading.limits import ReadingLimits
from pref_assets.pairs.reading.lines import line_rows
from pref_assets.pairs.reading.rows import Row
from pref_assets.pairs.reading.streams import Opener, open_place, text_of, unpacked

_COLUMNAR = (".parquet", ".arrow", ".feather")
Parts = Iterator[tuple[str, Iterator[Row]]]
"""Files, one or those of an archive, each with its uri and rows."""


def file_parts(place: Place, uri: str, limits: ReadingLimits, media: MediaStore | None) -> Parts:
    """The rows of a file, or of every file in an archive. Raises ``UnreadableError`` or ``OSError``, also while rows
    are read; what is wrong with one file of an archive becomes a row of its own, numbered 0."""
    name = (place.name if isinstance(place, Path) else place).lower()
    size = place.stat().st_size if isinstance(place, Path) else object_state(place)[1]
    if not name.endswith(".zip"):
        yield uri, _file_rows(name, uri, size, lambda: open_place(place), limits, media)
        return
    with open_place(place) as stream:
        archive = Archive(stream, uri, size, limits)
        for member in archive.members:
            inside = archive.uri(member)
            yield inside, _member_rows(archive, member, inside, limits, media)


def _member_rows(
    archive: Archive, member: ZipInfo, uri: str, limits: ReadingLimits, media: MediaStore | None
) -> Iterator[Row]:
    if (fault := archive.fault(member)) is not None:
        return iter([(0, "", UNREADABLE_MEMBER, fault)])
    name = member.filename.lower()
    opener = partial(archive.copy if name.endswith(_COLUMNAR) else archive.open, member)
    return or_one_fault(_file_rows(name, uri, member.file_size, opener, limits, media), uri)


def _file_rows(
    name: str, uri: str, size: int, opener: Opener, limits: ReadingLimits, media: MediaStore | None
) -> Iterator[Row]:
    """The rows of one file that is no archive of files; its name says what it is."""
    with ExitStack() as opened:

        def binary() -> BinaryIO:
            return opened.enter_context(opener())

        def text() -> BinaryIO:
            return text_of(unpacked(binary(), uri, size, limits) if name.endswith(".gz") else binary(), uri)

        plain = name.removesuffix(".gz")
        if name.endswith(".parquet"):
            yield from parquet_rows(binary(), uri, media)
        elif name.endswith(_COLUMNAR):
            yield from arrow_rows(binary(), uri, media)
        elif plain.endswith(".jsonl"):
            yield from line_rows(text(), limits)
        elif plain.endswith(".json"):
            yield from document_rows(text, limits)
        elif plain.endswith(".csv"):
            yield from csv_rows(text(), uri, limits)
        else:
            raise UnreadableError(f"{uri}: cannot read this type of file; readable are {', '.join(SUFFIXES)}")
