"""JSON lists, CSV, Parquet and Arrow files with broken rows, or broken as a whole."""

import json
from pathlib import Path

from pref_assets.synthesis.broken.case import Case, bad, good, good_line, good_row, lines, writes

_HEADER = b"prompt,chosen,rejected"
_MANY = 2_000


def _list(*elements: bytes) -> bytes:
    return b"[" + b",\n ".join(elements) + b"]\n"


def _cells(number: int) -> bytes:
    return ",".join(good_row(number).values()).encode()


def _csv(*rows: bytes) -> bytes:
    return lines([_HEADER, *rows])


def _parquet(path: Path) -> None:
    import polars as pl

    pl.DataFrame([good_row(number) for number in range(_MANY)]).write_parquet(path)


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _cut_parquet(path: Path) -> None:
    _parquet(path)
    _cut(path)


def _damaged_parquet(path: Path) -> None:
    """The footer is whole, the pages are not."""
    _parquet(path)
    data = bytearray(path.read_bytes())
    data[8:600] = b"\xaa" * 592
    path.write_bytes(data)


def _stray_parquet(path: Path) -> None:
    """Row 2 of three holds a byte that is no UTF-8."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {}
    for name in good_row(0):
        texts = [str(good_row(number)[name]).encode() for number in (1, 2, 3)]
        texts[1] += b"\xff" if name == "chosen" else b""
        offsets = pa.array([sum(map(len, texts[:at])) for at in range(4)], pa.int32()).buffers()[1]
        columns[name] = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"".join(texts)))
    pq.write_table(pa.table(columns), path)


def _arrow(path: Path) -> None:
    import polars as pl

    pl.DataFrame([good_row(number) for number in range(_MANY)]).write_ipc(path)


def _cut_arrow(path: Path) -> None:
    _arrow(path)
    _cut(path)


LISTS = (
    Case(
        "broken_element.json",
        "a broken element between sound ones",
        writes(_list(good_line(1), b'{"prompt": }', good_line(3))),
        good(1, 3),
        bad("not_json", 2),
    ),
    Case(
        "odd_elements.json",
        "elements that are no usable objects",
        writes(_list(good_line(1), b"7", good_line(3)[:-1] + b', "margin": NaN}', b'{"a": "\xff"}', good_line(5))),
        good(1, 5),
        (*bad("not_an_object", 2), *bad("not_finite", 3), *bad("not_utf8", 4)),
    ),
    Case(
        "deep_element.json",
        "an element nested too deep for any parser",
        writes(_list(good_line(1), b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", good_line(3))),
        good(1, 3),
        bad("not_json", 2),
    ),
    Case(
        "cut_list.json",
        "a list that breaks off",
        writes(_list(good_line(1), good_line(2))[:-30]),
        good(1),
        bad("not_json", 2),
    ),
    Case(
        "missing_comma.json",
        "a list without a comma; what follows is one row",
        writes(_list(good_line(1) + good_line(2), good_line(3))),
        good(1),
        bad("not_json", 2),
    ),
    Case("lines_as_json.json", "JSON lines under the name of JSON", writes(lines(map(good_line, (1, 2)))), good(1, 2)),
    Case("indented.json", "one object on several lines", writes(json.dumps(good_row(1), indent=2).encode()), good(1)),
)
CSV = (
    Case(
        "wrong_columns.csv",
        "rows of too few and too many cells",
        writes(_csv(_cells(1), b"only one", _cells(3), _cells(4) + b",more")),
        good(1, 3),
        bad("wrong_columns", 2, 4),
    ),
    Case(
        "latin_1_cell.csv",
        "a cell in Latin-1",
        writes(_csv(_cells(1), b"Caf\xe9?,Yes,No", _cells(3))),
        good(1, 3),
        bad("not_utf8", 2),
    ),
    Case(
        "quote_inside.csv",
        "a quote inside a quoted cell, not doubled",
        writes(_csv(_cells(1), b'"What is "this"?",A word,A cat', _cells(3))),
        good(1, 3),
        bad("not_csv", 2),
    ),
    Case(
        "open_quote.csv",
        "a quote that is never closed; what follows is one row",
        writes(_csv(_cells(1), b'"What is this?,A word,A cat', _cells(3))),
        good(1),
        bad("not_csv", 2),
    ),
    Case(
        "empty_cell.csv",
        "an empty cell is null",
        writes(_csv(_cells(1), b"What?,,No")),
        good(1),
        bad("missing_field", 2),
    ),
    Case(
        "quoted_lines.csv",
        "a line break, a comma and a doubled quote in quoted cells",
        writes(_csv(b'"One,\ntwo ""three""?",Yes,No', _cells(2))),
        good(1, 2),
    ),
    Case(
        "spreadsheet.csv",
        "a byte order mark and CR LF",
        writes(b"\xef\xbb\xbf" + _csv(_cells(1)).replace(b"\n", b"\r\n")),
        good(1),
    ),
    Case(
        "semicolons.csv",
        "another separator",
        writes(_csv(_cells(1)).replace(b",", b";")),
        error="not separated by commas",
    ),
    Case(
        "repeated_column.csv",
        "two columns of one name",
        writes(b"prompt,chosen,chosen\na,b,c\n"),
        error="'chosen' twice",
    ),
    Case(
        "utf_16_table.csv",
        "UTF-16, as spreadsheets save it",
        writes(_csv(_cells(1)).decode().encode("utf-16")),
        error="UTF-16",
    ),
)
COLUMNAR = (
    Case("cut_parquet.parquet", "a Parquet file that breaks off", _cut_parquet, error="not a readable Parquet"),
    Case(
        "damaged_parquet.parquet", "a Parquet file with damaged pages", _damaged_parquet, error="not a readable Parquet"
    ),
    Case(
        "text_as_parquet.parquet",
        "text under the name of Parquet",
        writes(b"prompt\n" * 9),
        error="not a readable Parquet",
    ),
    Case(
        "empty_parquet.parquet", "an empty file under the name of Parquet", writes(b""), error="not a readable Parquet"
    ),
    Case(
        "stray_byte.parquet",
        "a text column with a byte that is no UTF-8",
        _stray_parquet,
        good(1, 3),
        bad("not_utf8", 2),
    ),
    Case("cut_arrow.arrow", "an Arrow file that breaks off", _cut_arrow, error="not a readable Arrow"),
    Case("text_as_arrow.arrow", "text under the name of Arrow", writes(b"prompt\n" * 9), error="not a readable Arrow"),
)
CASES = (*LISTS, *CSV, *COLUMNAR)
