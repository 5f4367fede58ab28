"""From files and hub data sets to raw rows: every row is kept as read, whether it can be used or not."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.pairs.locations import SUFFIXES, parse_hub
from pref_assets.pairs.schema import RAW

_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder()


class UnreadableError(ValueError):
    """A whole file or hub data set cannot be read; the message names it and says what to do."""


def read_rows(path: Path, uri: str, source: str, batch: str) -> pl.DataFrame:
    """The rows of a file as a ``RAW`` frame, in file order.

    JSON lines are numbered by line (blank lines count but hold no row), elements of a JSON list and Parquet rows by
    position; numbers start at 1. A row that is not a JSON object keeps its text and gets a code: ``not_utf8``,
    ``not_json`` or ``not_an_object``.

    Raises:
        UnreadableError: the file as a whole cannot be read (damaged archive, no Parquet, unknown type).
        OSError: the file is missing or may not be read.
    """
    name = path.name.lower()
    if name.endswith(".parquet"):
        return _raw(_payload_rows(_read_parquet(path, uri)), uri, source, batch)
    if not name.endswith(SUFFIXES):
        raise UnreadableError(f"{uri}: cannot read this type of file; readable are {', '.join(SUFFIXES)}")
    data = _read_bytes(path, uri)
    if name.endswith((".json", ".json.gz")):
        return _raw(_document_rows(data), uri, source, batch)
    return _raw(_line_rows(data), uri, source, batch)


def read_hub(location: str, source: str, batch: str) -> pl.DataFrame:
    """The rows of ``hf://org/name[/config][@revision][:split]`` as a ``RAW`` frame; needs a network or a cache.

    Without a split, every split is read. The uri of a row is the location with its split, the row number counts from 1
    within the split.

    Raises:
        LocationError: the location has another shape.
        UnreadableError: the hub does not answer, or has no such data set, configuration or split.
    """
    from datasets import Dataset, get_dataset_config_names, load_dataset

    hub = parse_hub(location)
    try:
        chosen = {}
        if hub.config is not None:
            known = get_dataset_config_names(hub.name, revision=hub.revision)
            chosen = {"name" if hub.config in known else "data_dir": hub.config}
        loaded = load_dataset(hub.name, split=hub.split, revision=hub.revision, **chosen)
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{location}: {error}. Check the name, the revision and the network") from error
    splits = {hub.split: loaded} if isinstance(loaded, Dataset) else dict(loaded)
    base = location.removesuffix(f":{hub.split}")
    frames = [_raw(_payload_rows(splits[name].to_polars()), f"{base}:{name}", source, batch) for name in sorted(splits)]
    return pl.concat(frames) if frames else RAW.empty()


Row = tuple[int, str, str | None, str | None]
"""Row number, payload, code and message."""


def _raw(rows: Iterator[Row], uri: str, source: str, batch: str) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    frame = pl.DataFrame(
        [
            pl.Series(name, values, dtype=dtype)
            for name, values, dtype in zip(
                ("row", "payload", "code", "reason"),
                columns,
                (pl.Int64, pl.String, pl.String, pl.String),
                strict=True,
            )
        ]
    )
    where = pl.concat_str(pl.lit(f"{uri}, row "), "row", pl.lit(": "), "reason")
    constants = {"source": pl.lit(source), "uri": pl.lit(uri), "batch": pl.lit(batch), "reason": where}
    return RAW.conform(frame.with_columns(**constants))


def _read_bytes(path: Path, uri: str) -> bytes:
    data = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise UnreadableError(f"{uri}: damaged gzip file ({error}); copy it again") from error
    return data.removeprefix(b"\xef\xbb\xbf")


def _read_parquet(path: Path, uri: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, hive_partitioning=False, glob=False)
    except pl.exceptions.PolarsError as error:
        raise UnreadableError(f"{uri}: not a readable Parquet file ({error}); copy it again") from error


def _line_rows(data: bytes) -> Iterator[Row]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line or line.isspace():
            continue
        try:
            text = line.decode().strip(_BLANK)
        except UnicodeDecodeError as error:
            message = f"not UTF-8 text (byte {error.start} of the row)"
            yield number, line.decode(errors="backslashreplace"), "not_utf8", message
            continue
        yield number, text, *_refusal(text)


def _refusal(text: str) -> tuple[str | None, str | None]:
    """Code and message when the text is not a JSON object, else nothing."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return "not_json", f"not JSON ({error})"
    if isinstance(value, dict):
        return None, None
    return "not_an_object", f"a JSON {json_type(value)}, not an object with fields"


def _document_rows(data: bytes) -> Iterator[Row]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        yield from _line_rows(data)
        return
    start = _skip(text, 0)
    if not text.startswith("[", start):
        # One object, or JSON lines under the name .json, as several data sets on the hub have them.
        try:
            end = _skip(text, _DECODER.raw_decode(text, start)[1])
        except (ValueError, RecursionError):
            end = -1
        if end == len(text):
            yield 1, text.strip(_BLANK), *_refusal(text)
        else:
            yield from _line_rows(data)
        return
    yield from _elements(text, start + 1)


def _elements(text: str, position: int) -> Iterator[Row]:
    """Elements of a JSON list, each with its text exactly as in the file; what cannot be parsed is one last row."""
    number = 1
    position = _skip(text, position)
    while not text.startswith("]", position):
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield number, text[position:], "not_json", f"not JSON from here to the end of the file ({error})"
            return
        fault = (
            (None, None) if isinstance(value, dict) else ("not_an_object", f"a JSON {json_type(value)}, not an object")
        )
        yield number, text[position:end], *fault
        number += 1
        position = _skip(text, end)
        if text.startswith(",", position):
            position = _skip(text, position + 1)
        elif not text.startswith("]", position):
            yield number, text[position:], "not_json", "the list breaks off here: `,` or `]` expected"
            return


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANK:
        position += 1
    return position


def json_type(value: Any) -> str:
    """The JSON name of a parsed value's type."""
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def _payload_rows(frame: pl.DataFrame) -> Iterator[Row]:
    if not frame.width:
        return
    if any(_holds_binary(dtype) for dtype in frame.schema.values()):
        payloads = [json.dumps(row, ensure_ascii=False, default=_as_json) for row in frame.iter_rows(named=True)]
    else:
        payloads = frame.select(pl.struct(pl.all()).struct.json_encode()).to_series().to_list()
    for number, payload in enumerate(payloads, 1):
        yield number, payload, None, None


def _holds_binary(dtype: pl.DataType) -> bool:
    if isinstance(dtype, (pl.List, pl.Array)):
        return _holds_binary(dtype.inner)  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return any(_holds_binary(field.dtype) for field in dtype.fields)  # type: ignore[arg-type]
    return dtype == pl.Binary


def _as_json(value: Any) -> str:
    return f"base64:{base64.b64encode(value).decode()}" if isinstance(value, bytes) else str(value)
