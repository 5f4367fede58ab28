"""Rows on their way from a file to the raw table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import polars as pl

from pref_assets.pairs.reading.limits import ReadingLimits
from pref_assets.pairs.reading.parse import RowFault, parse_row
from pref_assets.pairs.schema import RAW

Row = tuple[int, str, str | None, str | None]
"""Row number (0 stands for the file itself), payload, code and message."""
_BLANK = " \t\r\n"


def text_row(number: int, data: bytes, limits: ReadingLimits) -> Row:
    """The row that a piece of a text file holds, with its code when it is no JSON object."""
    try:
        text = data.decode().strip(_BLANK)
        parse_row(data, limits)
    except UnicodeDecodeError as error:
        return number, shown(data, len(data), limits), "not_utf8", f"not UTF-8 text (byte {error.start} of the row)"
    except RowFault as fault:
        return number, shown(data, len(data), limits), fault.code, str(fault)
    return number, text, None, None


def shown(data: bytes, size: int, limits: ReadingLimits) -> str:
    """The beginning of a refused row as text that any table holds; a note says how much is missing."""
    text = data[: limits.kept_bytes].decode(errors="backslashreplace").strip(_BLANK)
    return text if size <= limits.kept_bytes else f"{text} [… cut: {size} bytes in the file]"


@dataclass
class _Chunk:
    uris: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    payloads: list[str] = field(default_factory=list)
    codes: list[str | None] = field(default_factory=list)
    messages: list[str | None] = field(default_factory=list)
    size: int = 0

    def frame(self, source: str, batch: str) -> pl.DataFrame:
        columns = {
            "uri": pl.Series(self.uris, dtype=pl.String),
            "row": pl.Series(self.numbers, dtype=pl.Int64),
            "payload": pl.Series(self.payloads, dtype=pl.String),
            "code": pl.Series(self.codes, dtype=pl.String),
            "message": pl.Series(self.messages, dtype=pl.String),
        }
        where = pl.when(pl.col("row") > 0).then(pl.format("{}, row {}: {}", "uri", "row", "message"))
        return RAW.conform(
            pl.DataFrame(columns)
            .with_columns(
                source=pl.lit(source),
                batch=pl.lit(batch),
                reason=pl.when(pl.col("message").is_not_null()).then(
                    where.otherwise(pl.format("{}: {}", "uri", "message"))
                ),
            )
            .drop("message")
        )


def raw_frames(
    parts: Iterable[tuple[str, Iterable[Row]]], source: str, batch: str, rows: int, limits: ReadingLimits
) -> Iterator[pl.DataFrame]:
    """``RAW`` frames of at most ``rows`` rows (and about ``limits.chunk_bytes``) from ``(uri, rows)`` parts."""
    chunk = _Chunk()
    for uri, found in parts:
        for number, payload, code, message in found:
            chunk.uris.append(uri)
            chunk.numbers.append(number)
            chunk.payloads.append(payload)
            chunk.codes.append(code)
            chunk.messages.append(message)
            chunk.size += len(payload)
            if len(chunk.numbers) >= rows or chunk.size >= limits.chunk_bytes:
                yield chunk.frame(source, batch)
                chunk = _Chunk()
    if chunk.numbers:
        yield chunk.frame(source, batch)
