"""Zip archives: every data file inside is read where it is, nothing is unpacked to disk."""

import posixpath
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, cast

from pref_assets.pairs.locations import SUFFIXES
from pref_assets.pairs.reading.errors import UnreadableError
from pref_assets.pairs.reading.limits import ReadingLimits
from pref_assets.pairs.reading.rows import Row
from pref_assets.pairs.reading.streams import Growth, guarded

UNREADABLE_MEMBER = "unreadable_member"
_ENCRYPTED = 0x1
_BLOCK = 1 << 20


class Archive:
    """The data files of a zip archive of ``size`` bytes. Raises ``UnreadableError`` when it is none, or has none."""

    def __init__(self, stream: BinaryIO, uri: str, size: int, limits: ReadingLimits) -> None:
        try:
            self._zip = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UnreadableError(f"{uri}: damaged zip archive ({error}); copy it again") from error
        self._uri = uri
        self._growth = Growth(uri, size, limits)
        found = [info for info in self._zip.infolist() if _is_data(info)]
        self._count = Counter(info.filename for info in found)
        first = {info.filename: info for info in reversed(found)}
        self.members = [first[name] for name in sorted(first)]
        """One for each name, sorted."""
        if not self.members:
            raise UnreadableError(f"{uri}: no data file in the archive; readable are {', '.join(SUFFIXES)}")

    def fault(self, member: zipfile.ZipInfo) -> str | None:
        """Why a member is not read at all."""
        name = member.filename
        if name.startswith("/") or ".." in name.split("/") or "\\" in name or ":" in name.split("/")[0]:
            return "its name leads out of the archive; pack it again under a plain name"
        if self._count[name] > 1:
            return "the archive has several files of this name; pack it again"
        if name.lower().endswith(".zip"):
            return "an archive inside an archive; unpack it first"
        if member.flag_bits & _ENCRYPTED:
            return "locked with a password; unpack it first"
        return None

    def uri(self, member: zipfile.ZipInfo) -> str:
        """What provenance shows for a member."""
        return f"{self._uri}/{member.filename}"

    def open(self, member: zipfile.ZipInfo) -> BinaryIO:
        """The bytes of a member, from the beginning. Raises ``UnreadableError``, also while they are read."""
        try:
            inside = self._zip.open(member)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
            raise UnreadableError(f"{self.uri(member)}: damaged or packed in an unknown way ({error})") from error
        return guarded(cast(BinaryIO, inside), self.uri(member), self._growth, "file in a zip archive")

    def copy(self, member: zipfile.ZipInfo) -> BinaryIO:
        """The bytes of a member in a temporary file, for formats that are not read in order. Raises as ``open``."""
        copied = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (the caller closes it)
        with self.open(member) as inside:
            shutil.copyfileobj(inside, copied, _BLOCK)
        copied.seek(0)
        return copied


def or_one_fault(rows: Iterator[Row], uri: str) -> Iterator[Row]:
    """The rows of a member; where it cannot be read (on), one row numbered 0 says so instead."""
    try:
        yield from rows
    except UnreadableError as error:
        yield 0, "", UNREADABLE_MEMBER, str(error).removeprefix(f"{uri}: ")


def _is_data(info: zipfile.ZipInfo) -> bool:
    name = posixpath.basename(info.filename.replace("\\", "/"))
    hidden = name.startswith(".") or info.filename.startswith("__MACOSX/")
    return not info.is_dir() and not hidden and name.lower().endswith(SUFFIXES)
