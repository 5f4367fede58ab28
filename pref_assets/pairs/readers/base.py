"""What all readers share: one raw row becomes one record, or goes to quarantine with a reason."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from pref_assets.pairs.readers.frames import RecordFrames
from pref_assets.pairs.readers.record import BadRowError, Record
from pref_assets.pairs.reading import json_type
from pref_assets.pairs.schema import QUARANTINE
from pref_assets.settings import Settings


@dataclass(frozen=True)
class Records:
    """What a batch holds. Frames conform to ``RECORD_PROMPTS``, ``RECORD_COMPLETIONS``, ``RECORD_VOTES`` and
    ``QUARANTINE``; each raw row is in the records, in quarantine, or (when only some completions of a row with many
    were refused) in both."""

    prompts: pl.DataFrame
    completions: pl.DataFrame
    votes: pl.DataFrame
    quarantine: pl.DataFrame


class NoWayBackError(ValueError):
    """A record cannot be written in this format; the message says what the format cannot hold."""


class Source(Settings):
    """Where rows come from and what their fields mean. Subclasses set ``type`` and implement ``record``."""

    example: ClassVar[tuple[dict[str, Any], ...]] = ()
    """Rows of the format, for the documentation and the tests: each is read, and written back where there is a way."""
    keeps: ClassVar[str] = ""
    """What of a row is kept and where, and what is not, in a sentence or two, for the documentation."""

    location: str
    """File, folder, glob, ``package://module/folder``, or ``hf://org/name[/config][@revision][:split]``."""
    max_bad_share: float = Field(default=0.05, ge=0, le=1)
    """Share of rows in quarantine above which the batch is refused by a blocking check."""

    def record(self, row: dict[str, Any]) -> Record:
        """The record that one parsed row holds. Raises ``BadRowError`` with code and reason."""
        raise NotImplementedError

    def records(self, row: dict[str, Any], uri: str) -> list[Record]:
        """The records that one parsed row of file ``uri`` holds; most formats have one. Raises as ``record`` does."""
        return [self.record(row)]

    def row(self, record: Record) -> dict[str, Any]:
        """The row of a record, the inverse of ``record``: reading it again gives the same ids, ratings and votes.

        Raises:
            NoWayBackError: the format cannot hold the record, or there is no way back at all.
        """
        raise NoWayBackError(f"format {type(self).__name__} is only read, not written")

    def read(self, raw: pl.DataFrame) -> Records:
        """Records of a ``RAW`` frame. A row that is none goes to quarantine with its file, row, field and payload."""
        frames = RecordFrames()
        bad: list[tuple[int, str, str]] = []
        where = raw.select("uri", "row", "payload", "code", "reason").iter_rows()
        for position, (uri, row, payload, code, reason) in enumerate(where):
            if code is not None:
                bad.append((position, code, reason))
                continue
            try:
                records = self.records(_parse(payload), uri)
            except BadRowError as error:
                bad.append((position, error.code, f"{uri}, row {row}: {error}"))
                continue
            refused = [error for record in records for error in record.refused]
            if refused:
                bad.append((position, refused[0].code, f"{uri}, row {row}: {_sentence(refused)}"))
            for record in records:
                frames.add(record, position)
        return Records(*frames.build(raw), quarantine=_quarantine(raw, bad))


def _parse(payload: str) -> dict[str, Any]:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise BadRowError("not_json", f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadRowError("not_an_object", f"a JSON {json_type(value)}, not an object with fields")
    if "\\ud" in payload or "\\uD" in payload:
        # Only these escapes can make half a character, which no UTF-8 table can hold.
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise BadRowError("not_utf8", f"holds half a character ({error.object[error.start]!r})") from error
    return value


def _sentence(refused: list[BadRowError]) -> str:
    return "; ".join(str(error) for error in refused) + "; the rest of the row was read"


def _quarantine(raw: pl.DataFrame, bad: list[tuple[int, str, str]]) -> pl.DataFrame:
    rows = raw[[position for position, _, _ in bad]].drop("code", "reason")
    return QUARANTINE.conform(
        rows.with_columns(
            pl.Series("code", [code for _, code, _ in bad], dtype=pl.String),
            pl.Series("reason", [reason for _, _, reason in bad], dtype=pl.String),
        )
    )
