"""JSON documents: a list is read element by element, so that its length does not matter."""

import io
import json
import re
from collections.abc import Iterator
from typing import BinaryIO, cast

from pref_assets.pairs.reading.limits import ReadingLimits
from pref_assets.pairs.reading.lines import line_rows
from pref_assets.pairs.reading.rows import Row, shown, text_row
from pref_assets.pairs.reading.streams import Opener

_BLOCK = 1 << 20
_DECODER = json.JSONDecoder()
_NOT_BLANK = re.compile(r"[^ \t\r\n]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A whole text, one that the view cuts off (whose brackets are no brackets either), or a bracket."""
_STRAY = "surrogateescape"
"""Bytes that are no UTF-8 become half characters, so that only their element is refused."""


def document_rows(opener: Opener, limits: ReadingLimits) -> Iterator[Row]:
    """Elements of a JSON list, numbered from 1, each with its text as in the file.

    A document that is one object is one row. Anything else is read as JSON lines, which several data sets on the hub
    are under the name ``.json``.
    """
    window = _Window(opener(), limits)
    if window.next() == "[":
        window.skip(1)
        yield from _elements(window, limits)
        return
    value = window.value() if window.next() == "{" else None
    if value is not None and not window.next():
        yield text_row(1, _bytes(value), limits)
    else:
        yield from line_rows(opener(), limits)


class _Window:
    """A moving view of a text: what is before the position is forgotten."""

    def __init__(self, stream: BinaryIO, limits: ReadingLimits) -> None:
        self._stream = io.TextIOWrapper(cast(io.BufferedReader, stream), "utf-8", errors=_STRAY, newline="")
        self._text = ""
        self._start = 0
        self._most = limits.max_row_bytes

    def next(self) -> str:
        """The next character that is not blank, where the view then begins; empty at the end."""
        while (match := _NOT_BLANK.search(self._text, self._start)) is None:
            self._text, self._start = self._stream.read(_BLOCK), 0
            if not self._text:
                return ""
        self._start = match.start()
        return match.group()

    def skip(self, count: int) -> None:
        self._start += count

    def value(self) -> str | None:
        """The text of the value that begins here; nothing where none ends within the bytes a row may have."""
        while True:
            end = self._end()
            if end is not None and (end < len(self._text) or not self._more()):
                value = self._text[self._start : end]
                self._start = end
                return value
            if end is None and not self._more():
                return None

    def rest(self) -> tuple[str, int]:
        """Everything from here on: its beginning, and how much it is."""
        begins = self._text[self._start :]
        size = len(begins)
        while more := self._stream.read(_BLOCK):
            size += len(more)
        self._text, self._start = "", 0
        return begins, size

    def _end(self) -> int | None:
        """Where the value ends that begins here; nothing when it does not end in the view."""
        try:
            return _DECODER.raw_decode(self._text, self._start)[1]
        except (ValueError, RecursionError):
            # Broken inside, nested too deep, or cut off by the view: brackets tell where it ends, if it does.
            return self._balanced()

    def _balanced(self) -> int | None:
        depth = 0
        for token in _TOKEN.finditer(self._text, self._start):
            if depth == 0 and token.start() != self._start:
                return None
            if token.group() in ("[", "{"):
                depth += 1
            elif token.group() in ("]", "}"):
                depth -= 1
                if depth <= 0:
                    return token.end() if depth == 0 else None
        return None

    def _more(self) -> bool:
        """Makes the view longer, by as much as it holds so that trying again stays cheap; whether it is longer now."""
        held = len(self._text) - self._start
        if held > self._most:
            return False
        more = self._stream.read(max(_BLOCK, held))
        self._text, self._start = self._text[self._start :] + more, 0
        return bool(more)


def _elements(window: _Window, limits: ReadingLimits) -> Iterator[Row]:
    number = 1
    while (found := window.next()) != "]":
        value = window.value() if found else None
        if value is None:
            yield _lost(number, window, "not JSON from here to the end of the file", limits)
            return
        yield text_row(number, _bytes(value), limits)
        number += 1
        found = window.next()
        if found == ",":
            window.skip(1)
        elif found != "]":
            yield _lost(number, window, "the list breaks off here: `,` or `]` expected", limits)
            return


def _lost(number: int, window: _Window, message: str, limits: ReadingLimits) -> Row:
    begins, size = window.rest()
    return number, shown(_bytes(begins[: limits.kept_bytes + 1]), size, limits), "not_json", message


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", _STRAY)
