"""Files that are not what their name says: each is refused whole, by one error."""

import gzip
import io
import zlib

from pref_assets.synthesis.broken.case import Case, good_line, lines, writes

_ROWS = lines(good_line(number) for number in range(1, 201))
_PAGE = b"<!DOCTYPE html>\n<html><body><h1>503 Service Unavailable</h1></body></html>\n"
_DENIED = b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>\n'
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 1\n"
_BOMB = 24 << 20
_TIGHT = {"limits": {"free_bytes": 1 << 20}}


def _refused(file: str, what: str, data: bytes, error: str) -> Case:
    return Case(file, what, writes(data), error=error)


def _packed() -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream:
        stream.write(_ROWS)
    return packed.getvalue()


def _wrong_checksum(packed: bytes) -> bytes:
    return packed[:-8] + (zlib.crc32(b"something else")).to_bytes(4, "little") + packed[-4:]


CASES = (
    _refused("utf_16.jsonl", "UTF-16 with its mark", _ROWS.decode().encode("utf-16"), "UTF-16"),
    _refused(
        "utf_16_big.jsonl", "UTF-16, the other byte first", b"\xfe\xff" + _ROWS.decode().encode("utf-16-be"), "UTF-16"
    ),
    _refused("utf_16_bare.jsonl", "UTF-16 without its mark", _ROWS.decode().encode("utf-16-le"), "UTF-16"),
    _refused("utf_32.jsonl", "UTF-32", b"\0\0\xfe\xff" + _ROWS.decode().encode("utf-32-be"), "UTF-32"),
    _refused("web_page.jsonl", "an error page saved as JSON lines", _PAGE, "error page"),
    _refused("web_page_as_list.json", "an error page saved as JSON", b"\n  " + _PAGE, "error page"),
    _refused("web_page_as_table.csv", "an error page saved as CSV", _PAGE, "error page"),
    _refused("denied.jsonl", "the refusal of an object store", _DENIED, "error page"),
    _refused("pointer.jsonl", "a Git LFS pointer", _POINTER, "Git LFS"),
    _refused("gzip_under_plain_name.jsonl", "gzip data without .gz", _packed(), "gzip"),
    _refused("plain_under_gzip_name.jsonl.gz", "plain text with .gz", _ROWS, "damaged gzip"),
    _refused("cut_gzip.jsonl.gz", "a gzip file that breaks off", _packed()[:-200], "damaged gzip"),
    _refused("gzip_checksum.jsonl.gz", "a gzip file with a wrong checksum", _wrong_checksum(_packed()), "damaged gzip"),
    _refused("gzip_tail.jsonl.gz", "rubbish after a gzip file", _packed() + b"rubbish", "damaged gzip"),
    Case(
        "gzip_bomb.jsonl.gz",
        "a small gzip file that never ends",
        lambda path: path.write_bytes(gzip.compress(b" " * _BOMB, mtime=0)),
        error="bomb",
        settings=_TIGHT,
    ),
)
