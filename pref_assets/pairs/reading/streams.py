"""Bytes of files: local or remote, packed or not, and never what their name denies."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from pref_assets.pairs.places import Place
from pref_assets.pairs.reading.errors import UnreadableError
from pref_assets.pairs.reading.limits import ReadingLimits

_BUFFER = 1 << 18
_HEAD = 4096
_BOM = b"\xef\xbb\xbf"
_OTHER_KINDS = {
    b"\x1f\x8b": "gzip data; end its name with .gz",
    b"PK\x03\x04": "a zip archive; end its name with .zip",
    b"PAR1": "a Parquet file; end its name with .parquet",
    b"ARROW1": "an Arrow file; end its name with .arrow",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"\x00\x00\xfe\xff": "UTF-32 text; save it as UTF-8",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run `git lfs pull`",
}


def open_place(place: Place) -> BinaryIO:
    """The file's bytes, seekable. Raises ``OSError`` when there is none or it may not be read."""
    if isinstance(place, Path):
        return place.open("rb")
    import fsspec

    return cast(BinaryIO, fsspec.open(place, "rb").open())


def unpacked(stream: BinaryIO, uri: str, packed_size: int, limits: ReadingLimits) -> BinaryIO:
    """The bytes inside a gzip file. Reading raises ``UnreadableError`` where they are damaged, or a bomb."""
    inside = cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    return guarded(inside, uri, Growth(uri, packed_size, limits), "gzip file")


def guarded(stream: BinaryIO, uri: str, growth: "Growth", kind: str) -> BinaryIO:
    """The same bytes, with damage named and growth counted."""
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, _Guarded(stream, uri, growth, kind)), _BUFFER))


def text_of(stream: BinaryIO, uri: str) -> BinaryIO:
    """The bytes of a text file without its byte order mark.

    Raises:
        UnreadableError: they are something else: another encoding, a web page, an archive under a wrong name.
    """
    text = io.BufferedReader(cast(io.RawIOBase, stream), _BUFFER)
    head = text.peek(_HEAD)[:_HEAD]
    if head.startswith(_BOM):
        text.read(len(_BOM))
        head = head[len(_BOM) :]
    if (kind := other_kind(head)) is not None:
        raise UnreadableError(f"{uri}: this is {kind}")
    return cast(BinaryIO, text)


def other_kind(head: bytes) -> str | None:
    """What the beginning of a file says it is instead of text, with what to do."""
    for magic, kind in _OTHER_KINDS.items():
        if head.startswith(magic):
            return kind
    start = head.lstrip()[:20]
    if start[:2] in (b"{\x00", b"[\x00", b"\x00{", b"\x00["):
        return "UTF-16 text; save it as UTF-8"
    if start[:1] == b"<" or start[:15].lower().startswith((b"<!doctype", b"<html")):
        return f"HTML or XML, perhaps an error page ({start.decode(errors='replace')!r} …); download it again"
    return None


class Growth:
    """How much a packed file may grow; shared by the members of one archive."""

    def __init__(self, uri: str, packed_size: int, limits: ReadingLimits) -> None:
        self._uri = uri
        self._most = max(limits.free_bytes, int(packed_size * limits.max_expansion))
        self._expansion = limits.max_expansion
        self._grown = 0

    def add(self, count: int) -> None:
        """Counts bytes. Raises ``UnreadableError`` when there are too many."""
        self._grown += count
        if self._grown > self._most:
            raise UnreadableError(
                f"{self._uri}: unpacks to more than {self._most} bytes, over {self._expansion:g} times its size: a "
                "bomb? Unpack it by hand, or raise `limits.max_expansion`"
            )


class _Guarded(io.RawIOBase):
    def __init__(self, stream: BinaryIO, uri: str, growth: Growth, kind: str) -> None:
        self._stream = stream
        self._uri = uri
        self._growth = growth
        self._kind = kind

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
            raise UnreadableError(f"{self._uri}: damaged {self._kind} ({error}); copy it again") from error
        self._growth.add(len(data))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


Opener = Callable[[], BinaryIO]
"""Opens the file again, from its beginning."""
