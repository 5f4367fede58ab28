"""Parquet and Arrow files: a record batch at a time, every row as JSON."""

import base64
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import polars as pl

from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.reading.errors import UnreadableError
from pref_assets.pairs.reading.rows import Row

if TYPE_CHECKING:
    import pyarrow as pa

_PIECE = 2_000
"""Rows turned into JSON at once."""
_READ_AHEAD = 1 << 20
_IMAGE = {"bytes", "path"}
"""Fields of an image as the `datasets` library stores it."""


def parquet_rows(stream: BinaryIO, uri: str, media: MediaStore | None) -> Iterator[Row]:
    """Rows numbered from 1; memory is that of some pages, not of a row group. Raises ``UnreadableError``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(stream, buffer_size=_READ_AHEAD, pre_buffer=False)
        yield from _batches_rows(file.iter_batches(_PIECE), media)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(f"{uri}: not a readable Parquet file ({error}); copy it again") from error


def arrow_rows(stream: BinaryIO, uri: str, media: MediaStore | None) -> Iterator[Row]:
    """Rows of an Arrow file or stream, from 1; memory is that of a record batch. Raises ``UnreadableError``."""
    import pyarrow as pa

    try:
        yield from _batches_rows(_arrow_batches(stream), media)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(f"{uri}: not a readable Arrow file ({error}); copy it again") from error


def _arrow_batches(stream: BinaryIO) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa

    magic = stream.read(6)
    stream.seek(0)
    if magic == b"ARROW1":
        file = pa.ipc.open_file(stream)
        for index in range(file.num_record_batches):
            yield file.get_batch(index)
    else:
        yield from pa.ipc.open_stream(stream)


def _batches_rows(batches: Iterator["pa.RecordBatch"], media: MediaStore | None) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _PIECE):
            for row in table_rows(batch.slice(start, _PIECE), media):
                number += 1
                yield number, *row


def table_rows(batch: "pa.RecordBatch", media: MediaStore | None) -> Iterator[tuple[str, str | None, str | None]]:
    """Payload, code and message of every row of a record batch."""
    import pyarrow as pa

    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        if batch.num_rows > 1:
            for index in range(batch.num_rows):
                yield from table_rows(batch.slice(index, 1), media)
        else:
            yield _escaped(batch), "not_utf8", f"not UTF-8 text ({error})"
        return
    frame = pl.DataFrame(batch)
    if not frame.width:
        return
    if any(_holds_binary(dtype) for dtype in frame.schema.values()):
        for row in frame.iter_rows(named=True):
            yield json.dumps(_plain(row, media), ensure_ascii=False, default=str), None, None
    else:
        for payload in frame.select(pl.struct(pl.all()).struct.json_encode()).to_series():
            yield payload, None, None


def _escaped(row: "pa.RecordBatch") -> str:
    """The text columns of a row that is not UTF-8, with its stray bytes as escapes."""
    import pyarrow as pa

    texts = {
        name: column.cast(pa.binary())[0].as_py()
        for name, column in zip(row.schema.names, row.columns, strict=True)
        if pa.types.is_string(column.type)
    }
    shown = {name: text and text.decode(errors="backslashreplace") for name, text in texts.items()}
    return json.dumps(shown, ensure_ascii=False)


def _holds_binary(dtype: Any) -> bool:
    if isinstance(dtype, (pl.List, pl.Array)):
        return _holds_binary(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return any(_holds_binary(field.dtype) for field in dtype.fields)
    return dtype == pl.Binary


def _plain(value: Any, media: MediaStore | None) -> Any:
    """The value with what JSON cannot hold taken out: bytes go to the media store, NaN becomes null."""
    if isinstance(value, bytes):
        return media.put(value) if media is not None else f"base64:{base64.b64encode(value).decode()}"
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, list):
        return [_plain(each, media) for each in value]
    if isinstance(value, dict):
        if media is not None and value.keys() == _IMAGE and isinstance(value["bytes"] or value["path"], (bytes, str)):
            return media.put(value["bytes"]) if value["bytes"] else value["path"]
        return {name: _plain(each, media) for name, each in value.items()}
    return value
