"""A file that is broken in one way, and what reading it must say."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Bad:
    """A row that must end in quarantine. Row 0 is a whole file inside an archive."""

    row: int
    code: str
    member: str = ""
    """File inside the archive that holds the row; empty where the file is no archive."""


@dataclass(frozen=True)
class Good:
    """A row that must be read as if nothing was wrong around it."""

    row: int
    member: str = ""


@dataclass(frozen=True)
class Case:
    """One kind of fault.

    Attributes:
        file: name of the file that has it; the kind is its stem.
        what: the fault in words.
        write: makes the file.
        good: rows that are sound.
        bad: rows that must be refused, with codes.
        error: words of the one error that refuses the whole file; null when the file can be read.
        settings: of the source, beside its location.
    """

    file: str
    what: str
    write: Callable[[Path], Any]
    good: tuple[Good, ...] = ()
    bad: tuple[Bad, ...] = ()
    error: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.file.split(".")[0]

    def manifest(self) -> dict[str, Any]:
        """Everything but how the file is made, as JSON."""
        shown = asdict(Case(self.file, self.what, str, self.good, self.bad, self.error, self.settings))
        del shown["write"]
        return {"kind": self.kind, **shown}


def good_row(number: int, **more: Any) -> dict[str, Any]:
    """A sound row of TRL's preference format; rows of different numbers are different."""
    return {
        "prompt": f"What is {number} and {number}?",
        "chosen": f"It is {2 * number}.",
        "rejected": f"It is {2 * number + 1}.",
        **more,
    }


def good_line(number: int, **more: Any) -> bytes:
    """The same as a JSON line without its end."""
    return json.dumps(good_row(number, **more)).encode()


def good(*rows: int, member: str = "") -> tuple[Good, ...]:
    return tuple(Good(row, member) for row in rows)


def bad(code: str, *rows: int, member: str = "") -> tuple[Bad, ...]:
    return tuple(Bad(row, code, member) for row in rows)


def writes(data: bytes) -> Callable[[Path], Any]:
    """Makes a file of these bytes."""
    return lambda path: path.write_bytes(data)


def lines(parts: Iterable[bytes], end: bytes = b"\n") -> bytes:
    return b"".join(part + end for part in parts)
