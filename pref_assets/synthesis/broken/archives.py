"""Zip archives with broken files inside: each is one row of its own, and the others are read."""

import io
import warnings
import zipfile
from collections.abc import Sequence

from pref_assets.synthesis.broken.case import Case, bad, good, good_line, lines, writes

_ROWS = lines([good_line(1), good_line(2)])
_WHEN = (2020, 1, 1, 0, 0, 0)
_CODE = "unreadable_member"
_SOUND = ("sound.jsonl", _ROWS)
_BOMB = 8 << 20
_TIGHT = {"limits": {"free_bytes": 1 << 20, "max_expansion": 20.0}}


def _zip(members: Sequence[tuple[str, bytes]], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w", packing) as archive:
        warnings.simplefilter("ignore", UserWarning)  # two files of one name are the point of one case
        for name, data in members:
            info = zipfile.ZipInfo(name, _WHEN)
            info.compress_type = packing
            archive.writestr(info, data)
    return packed.getvalue()


def _damaged() -> bytes:
    """A byte of the stored rows of one member is another one."""
    data = _zip([("damaged.jsonl", lines([good_line(7)])), _SOUND], zipfile.ZIP_STORED)
    at = data.index(b"What is 7")
    return data[:at] + b"w" + data[at + 1 :]


def _locked() -> bytes:
    """The marks of encryption are set on the first member."""
    data = bytearray(_zip([("locked.jsonl", _ROWS), _SOUND]))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _one_bad(kind: str, what: str, data: bytes, member: str) -> Case:
    """One member cannot be read, ``sound.jsonl`` can."""
    return Case(f"{kind}.zip", what, writes(data), good(1, 2, member="sound.jsonl"), bad(_CODE, 0, member=member))


CASES = (
    _one_bad(
        "out_of_archive",
        "a path that leaves the archive",
        _zip([("../../out.jsonl", _ROWS), _SOUND]),
        "../../out.jsonl",
    ),
    _one_bad(
        "absolute_path", "an absolute path in an archive", _zip([("/etc/out.jsonl", _ROWS), _SOUND]), "/etc/out.jsonl"
    ),
    _one_bad("archive_inside", "an archive in an archive", _zip([("inner.zip", _zip([_SOUND])), _SOUND]), "inner.zip"),
    _one_bad("damaged_member", "a file in an archive with a wrong checksum", _damaged(), "damaged.jsonl"),
    _one_bad("locked_member", "a file in an archive locked with a password", _locked(), "locked.jsonl"),
    _one_bad(
        "page_inside", "an error page in an archive", _zip([("page.jsonl", b"<html>503</html>"), _SOUND]), "page.jsonl"
    ),
    Case(
        "same_names.zip",
        "two files of one name in an archive",
        writes(_zip([("twice.jsonl", _ROWS), ("twice.jsonl", _ROWS), _SOUND])),
        good(1, 2, member="sound.jsonl"),
        bad(_CODE, 0, member="twice.jsonl"),
    ),
    Case(
        "row_inside.zip",
        "a broken row in a file in an archive",
        writes(_zip([("folder/rows.jsonl", lines([good_line(1), b"oops", good_line(3)])), _SOUND])),
        (*good(1, 3, member="folder/rows.jsonl"), *good(1, 2, member="sound.jsonl")),
        bad("not_json", 2, member="folder/rows.jsonl"),
    ),
    Case(
        "zip_bomb.zip",
        "a small archive that unpacks to much more",
        lambda path: path.write_bytes(_zip([("a_sound.jsonl", _ROWS), ("bomb.jsonl", b" " * _BOMB)])),
        good(1, 2, member="a_sound.jsonl"),
        bad(_CODE, 0, member="bomb.jsonl"),
        settings=_TIGHT,
    ),
    Case("cut_zip.zip", "an archive that breaks off", writes(_zip([_SOUND])[:-30]), error="damaged zip"),
    Case("no_data.zip", "an archive without data files", writes(_zip([("README.md", b"Hello")])), error="no data file"),
)
