"""Rows on their way from a file to the raw table."""

from collections.abc import Iterable, Iterator

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


def raw_frames(
    parts: Iterable[tuple[str, Iterable[Row]]], source: str, batch: str, rows: int, limits: ReadingLimits
) -> Iterator[pl.DataFrame]:
    """``RAW`` frames of at most ``rows`` rows (and about ``limits.chunk_bytes``) from ``(uri, rows)`` parts."""
    held: list[Row] = []
    uris: list[str] = []
    size = 0
    for uri, found in parts:
        for row in found:
            held.append(row)
            size += len(row[1])
            if len(held) >= rows or size >= limits.chunk_bytes:
                uris += [uri] * (len(held) - len(uris))
                yield _frame(uris, held, source, batch)
                held, uris, size = [], [], 0
        uris += [uri] * (len(held) - len(uris))
    if held:
        yield _frame(uris, held, source, batch)


def _frame(uris: list[str], rows: list[Row], source: str, batch: str) -> pl.DataFrame:
    numbers, payloads, codes, messages = zip(*rows, strict=True)
    place = pl.format("{}, row {}: {}", "uri", "row", "message")
    file = pl.format("{}: {}", "uri", "message")
    frame = pl.DataFrame(
        {
            "uri": pl.Series(uris, dtype=pl.String),
            "row": pl.Series(numbers, dtype=pl.Int64),
            "payload": pl.Series(payloads, dtype=pl.String),
            "code": pl.Series(codes, dtype=pl.String),
            "message": pl.Series(messages, dtype=pl.String),
        }
    ).with_columns(
        source=pl.lit(source),
        batch=pl.lit(batch),
        reason=pl.when(pl.col("message").is_not_null()).then(pl.when(pl.col("row") > 0).then(place).otherwise(file)),
    )
    return RAW.conform(frame.drop("message"))
