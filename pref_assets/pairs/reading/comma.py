"""CSV files, a row at a time."""

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO, cast

import orjson

from pref_assets.pairs.reading.errors import UnreadableError
from pref_assets.pairs.reading.limits import ReadingLimits
from pref_assets.pairs.reading.rows import Row, shown

_STRAY = "surrogateescape"
_LARGEST_FIELD = 2**31 - 1
_OTHER_SEPARATORS = ";\t|"


def csv_rows(stream: BinaryIO, uri: str, limits: ReadingLimits) -> Iterator[Row]:
    """Rows below the header, numbered from 1, as objects of texts; an empty cell is null. Blank lines hold no row.

    CSV has no numbers: a reader that wants some is `columns`, whose expressions turn texts into them.

    Raises:
        UnreadableError: the header does not name the columns.
    """
    text = io.TextIOWrapper(cast(io.BufferedReader, stream), "utf-8", errors=_STRAY, newline="")
    # The limit is the process's: it is raised here, and rows are measured below instead.
    csv.field_size_limit(_LARGEST_FIELD)
    lines = _Measured(text, limits.max_row_bytes)
    rows = csv.reader(lines, strict=True)
    header = _header(rows, uri)
    number = 0
    while True:
        lines.start()
        number += 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, lines.shown(limits), "not_csv", f"not CSV ({error}); a quote may be missing"
            continue
        except _TooLongError:
            message = f"more than the {limits.max_row_bytes} bytes a row may have; a quote may be missing"
            yield number, lines.shown(limits), "too_long", message
            rows = csv.reader(lines, strict=True)
            continue
        if not cells:
            number -= 1
        elif len(cells) != len(header):
            message = f"{len(cells)} cells under {len(header)} columns"
            yield number, lines.shown(limits), "wrong_columns", message
        else:
            yield _row(number, dict(zip(header, cells, strict=True)), lines, limits)


def _row(number: int, cells: dict[str, str], lines: "_Measured", limits: ReadingLimits) -> Row:
    try:
        payload = orjson.dumps({name: cell or None for name, cell in cells.items()}).decode()
    except orjson.JSONEncodeError:
        names = ", ".join(f"`{name}`" for name, cell in cells.items() if not _is_utf8(cell))
        return number, lines.shown(limits), "not_utf8", f"not UTF-8 text in {names}"
    return number, payload, None, None


def _header(rows: Iterator[list[str]], uri: str) -> list[str]:
    try:
        header = next(rows, [])
    except (csv.Error, _TooLongError) as error:
        raise UnreadableError(f"{uri}: the header is not CSV ({error})") from error
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or not all(name.strip() and _is_utf8(name) for name in header):
        fault = f"names {', '.join(map(repr, twice))} twice" if twice else "has a column without a readable name"
        raise UnreadableError(f"{uri}: the first line must name the columns, and it {fault}: {header}")
    if len(header) == 1 and any(sign in header[0] for sign in _OTHER_SEPARATORS):
        raise UnreadableError(
            f"{uri}: the columns are not separated by commas ({header[0][:80]!r}); save it with commas"
        )
    return header


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _TooLongError(Exception):
    pass


class _Measured(Iterator[str]):
    """Lines of a text, which remember those of the current row and end one that is too long."""

    def __init__(self, text: io.TextIOWrapper, most: int) -> None:
        self._text = text
        self._most = most
        self._held: list[str] = []
        self._size = 0

    def start(self) -> None:
        """A row begins."""
        self._held.clear()
        self._size = 0

    def shown(self, limits: ReadingLimits) -> str:
        """The current row as it is in the file."""
        data = "".join(self._held).encode("utf-8", _STRAY)
        return shown(data, len(data), limits)

    def __next__(self) -> str:
        line = self._text.readline(self._most)
        if not line:
            raise StopIteration
        self._held.append(line)
        self._size += len(line)
        if self._size >= self._most:
            raise _TooLongError(f"a row of more than {self._most} bytes")
        return line
