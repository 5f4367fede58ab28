"""What all readers share: one raw row becomes one record, or goes to quarantine with a reason."""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from pref_assets.pairs.image_limits import ImageLimits
from pref_assets.pairs.images import Images, images_root
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.readers.frames import RecordFrames
from pref_assets.pairs.readers.record import BadRowError, Record
from pref_assets.pairs.reading import ReadingLimits, RowFault, parse_row
from pref_assets.pairs.schema import QUARANTINE
from pref_assets.settings import Settings, digest

_NOTE = 100
"""A payload that reading has cut carries a note of fewer bytes than these."""


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
    example_settings: ClassVar[dict[str, Any]] = {}
    """What the settings must say, beyond a location, to read the examples."""
    keeps: ClassVar[str] = ""
    """What of a row is kept and where, and what is not, in a sentence or two, for the documentation."""

    location: str
    """File, folder (also one that ``datasets`` saved), glob, ``package://module/folder``, a URL of an object store that
    fsspec knows (``s3://bucket/folder``), or ``hf://org/name[/config][@revision][:split]``."""
    # Not part of what is hashed: how a source may be used does not change how it is read.
    licence: str | None = Field(default=None, exclude=True)
    """Licence of the data, best as an SPDX name or the address of its text; for the data card."""
    homepage: str | None = Field(default=None, exclude=True)
    """Where the data is described; for the data card."""
    max_bad_share: float = Field(default=0.05, ge=0, le=1)
    """Share of rows in quarantine above which the batch is refused by a blocking check."""
    image_folder: str | None = None
    """Folder or zip archive of the images which rows name, also in a package (``package://module/images.zip``); each is
    then stored by content, and a row whose image is missing or damaged goes to quarantine. Without it, the names of
    images stay as the rows have them."""
    image_limits: ImageLimits = ImageLimits()
    """Which images are taken, and how many frames of a video."""
    limits: ReadingLimits = ReadingLimits()
    """What is too much for a row or an archive."""

    def digest(self) -> str:
        """Changes with the settings and with the content of an archive of images; not with that of a folder."""
        own = super().digest()
        if self.image_folder is None or not zipfile.is_zipfile(root := images_root(self.image_folder)):
            return own
        # The directory of an archive holds a checksum of every member: definitions load without reading images.
        with zipfile.ZipFile(root) as archive:
            return digest([own, sorted([member.filename, member.CRC] for member in archive.infolist())])

    def record(self, row: dict[str, Any]) -> Record:
        """The record that one parsed row holds. Raises ``BadRowError`` with code and reason."""
        raise NotImplementedError

    def records(self, row: dict[str, Any], uri: str) -> list[Record]:
        """The records that one parsed row of file ``uri`` holds; most formats have one. Raises as ``record`` does."""
        return [self.record(row)]

    def shows_images(self) -> bool:
        """Whether its prompts have images, as far as the settings tell: formats of images say so themselves, of others
        those that name an ``image_folder`` or require images."""
        return self.image_folder is not None or self.image_limits.required

    def beside(self) -> list[tuple[str, str]]:
        """Uri and SHA-256 of files that are read beside the rows; those that are missing are left out."""
        return []

    def opened(self) -> Callable[[dict[str, Any], str], list[Record]]:
        """``records``, after loading what it needs beside the rows; called once for a batch."""
        return self.records

    def row(self, record: Record) -> dict[str, Any]:
        """The row of a record, the inverse of ``record``: reading it again gives the same ids, ratings and votes.

        Raises:
            NoWayBackError: the format cannot hold the record, or there is no way back at all.
        """
        raise NoWayBackError(f"format {type(self).__name__} is only read, not written")

    def read(self, raw: pl.DataFrame, media: MediaStore | None = None) -> Records:
        """Records of a ``RAW`` frame. A row that is none goes to quarantine with its file, row, field and payload.

        With ``media``, images in ``image_folder`` and in ``data:`` uris are stored there.

        Raises:
            ImagesError: the folder of images is not there.
        """
        return next(self.read_each([raw], media))

    def read_each(self, frames: Iterable[pl.DataFrame], media: MediaStore | None = None) -> Iterator[Records]:
        """``read`` for the frames of a batch one after the other; what lies beside the rows is loaded once."""
        read_row = self.opened()
        images = Images(self.image_folder, media, self.image_limits) if media is not None else None
        for raw in frames:
            yield self._read(raw, read_row, images)

    def _read(
        self, raw: pl.DataFrame, read_row: Callable[[dict[str, Any], str], list[Record]], images: Images | None
    ) -> Records:
        frames = RecordFrames()
        bad: list[tuple[int, str, str]] = []
        where = raw.select("uri", "row", "payload", "code", "reason").iter_rows()
        for position, (uri, row, payload, code, reason) in enumerate(where):
            if code is not None:
                bad.append((position, code, reason))
                continue
            try:
                records = read_row(parsed(payload, self.limits), uri)
                if images is not None:
                    for record in records:
                        record.images = images.stored(record.images)
            except BadRowError as error:
                bad.append((position, error.code, f"{uri}, row {row}: {error}"))
                continue
            refused = [error for record in records for error in record.refused]
            if refused:
                bad.append((position, refused[0].code, f"{uri}, row {row}: {_sentence(refused)}"))
            for record in records:
                frames.add(record, position)
        return Records(*frames.build(raw), quarantine=_quarantine(raw, bad, self.limits.kept_bytes))


def parsed(payload: str, limits: ReadingLimits) -> dict[str, Any]:
    """A raw row. Raises ``BadRowError`` where it is too much or no object."""
    try:
        return parse_row(payload.encode(), limits)
    except RowFault as fault:
        raise BadRowError(fault.code, str(fault)) from fault


def _sentence(refused: list[BadRowError]) -> str:
    return "; ".join(str(error) for error in refused) + "; the rest of the row was read"


def _quarantine(raw: pl.DataFrame, bad: list[tuple[int, str, str]], kept: int) -> pl.DataFrame:
    """The refused rows with why; of a payload of more than ``kept`` bytes only the beginning, and how much it was."""
    rows = raw[[position for position, _, _ in bad]].drop("code", "reason")
    size = pl.col("payload").str.len_bytes()
    cut = pl.format("{} [… cut: {} bytes in the file]", pl.col("payload").str.head(kept), size)
    return QUARANTINE.conform(
        rows.with_columns(
            pl.Series("code", [code for _, code, _ in bad], dtype=pl.String),
            pl.Series("reason", [reason for _, _, reason in bad], dtype=pl.String),
            payload=pl.when(size > kept + _NOTE).then(cut).otherwise("payload"),
        )
    )
