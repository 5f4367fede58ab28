"""JSON lines, a block at a time."""

from collections.abc import Iterator
from typing import BinaryIO

from pref_assets.pairs.reading.limits import ReadingLimits
from pref_assets.pairs.reading.rows import Row, shown, text_row

_BLOCK = 1 << 20


def line_rows(stream: BinaryIO, limits: ReadingLimits) -> Iterator[Row]:
    """Rows numbered by line from 1; blank lines count but hold no row. A line that is too long is not held whole."""
    for number, (line, size) in enumerate(_lines(stream, limits), 1):
        if size > limits.max_row_bytes:
            message = f"{size} bytes, more than the {limits.max_row_bytes} a row may have (`limits.max_row_bytes`)"
            yield number, shown(line, size, limits), "too_long", message
        elif line and not line.isspace():
            yield text_row(number, line, limits)


def _lines(stream: BinaryIO, limits: ReadingLimits) -> Iterator[tuple[bytes, int]]:
    """Lines with their sizes; of one that is too long only the beginning."""
    rest: list[bytes] = []
    size = 0
    while block := stream.read(_BLOCK):
        first, *lines = block.split(b"\n")
        if size <= limits.max_row_bytes:
            rest.append(first)
        size += len(first)
        if not lines:
            continue
        yield b"".join(rest), size
        last = lines.pop()
        for line in lines:
            yield line, len(line)
        rest, size = [last], len(last)
    if size:
        yield b"".join(rest), size
