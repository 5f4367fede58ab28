"""Registered batches: which file a partition is, pinned by its content hash before anything reads it."""

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pref_assets.home import Home
from pref_assets.lineage.facts import File
from pref_assets.pairs.locations import LocationError, SourceFile
from pref_assets.pairs.places import Place, RemoteFile, look, pinned, place_of
from pref_assets.settings import digest

_NOT_IN_A_KEY = re.compile(r"[^A-Za-z0-9_-]+")
_STEM = 40
_LOOKS = ".looks"
_SETTLED = 2.0
"""Seconds after a change before size and time of change stand for a file's content."""


class BatchError(ValueError):
    """A registered file is gone or has other content now; the message says what to do."""


@dataclass(frozen=True)
class Batch:
    """One ingestion batch.

    Attributes:
        key: partition key: the start of the file's name and of its hash.
        uri: the file as the source's location names it, or the hub location.
        path: where its rows are read: the file on this machine, the URL of an object, or the hub location with the
            commit that pins it; null for a hub location that names its own revision.
        sha256: hash of the file's bytes; null for what is not a file on this machine.
        size: bytes; null for a hub location.
        registered: when it was first seen, ISO 8601.
        etag: what an object store says of the content; null for anything else.
    """

    key: str
    uri: str
    path: str | None
    sha256: str | None
    size: int | None
    registered: str
    etag: str | None = None

    @property
    def place(self) -> str:
        """What `reading.read_chunks` reads."""
        return self.path or self.uri

    @property
    def pin(self) -> str:
        """What makes sure that the content is still the same."""
        if self.sha256 is not None:
            return f"sha256 {self.sha256}"
        return f"object store: {self.etag}" if self.etag is not None else f"hub: {self.place}"


def register_places(
    home: Home, pipeline: str, source: str, places: Iterable[tuple[str, Place]]
) -> list[tuple[str, LocationError]]:
    """Registers the files of a source; those that look as they did when they were last read are not read again.

    Returns:
        the files that cannot be read at all, each with its error; the others are registered.
    """
    before = _looks(home, pipeline, source)
    known = {_identity(batch): batch for batch in registered(home, pipeline, source)}
    now: dict[str, list[str]] = {}
    faults = []
    for uri, place in places:
        seen = look(place)
        remembered = before.get(str(place))
        if seen is not None and remembered is not None and remembered[0] == seen and remembered[1] in known:
            now[str(place)] = remembered
            continue
        try:
            file = pinned(uri, place)
        except LocationError as error:
            faults.append((uri, error))
            continue
        identity = _identity(file)
        if identity not in known:
            known[identity] = _write(home, pipeline, source, _batch(file))
        if seen is not None and look(place) == seen and _settled(place):
            now[str(place)] = [seen, identity]
    _remember(home, pipeline, source, now)
    return faults


def register_file(home: Home, pipeline: str, source: str, file: SourceFile | RemoteFile) -> Batch:
    """Registers a file; a file whose content is registered already gives the batch that has it."""
    for batch in registered(home, pipeline, source):
        if _identity(batch) == _identity(file):
            return batch
    return _write(home, pipeline, source, _batch(file))


def register_hub(home: Home, pipeline: str, source: str, location: str, pinned_location: str | None = None) -> Batch:
    """Registers a hub location as one batch. Another revision is another location, hence another batch.

    Args:
        home: the state folder.
        pipeline: its name.
        source: name of the source.
        location: as the pipeline file has it.
        pinned_location: the same with the commit to read, where the location does not say one.
    """
    for batch in registered(home, pipeline, source):
        if batch.uri == location:
            return batch
    key = f"hub-{digest(location)[:8]}"
    return _write(home, pipeline, source, Batch(key, location, pinned_location, None, None, _now()))


def registered(home: Home, pipeline: str, source: str) -> list[Batch]:
    """Every batch of a source, oldest first."""
    files = _folder(home, pipeline, source).glob("*.json")
    return sorted((Batch(**json.loads(file.read_text())) for file in files), key=lambda b: (b.registered, b.key))


def files_read(home: Home, pipeline: str, sources: Iterable[str]) -> list[File]:
    """Every batch of these sources as the data card tells of it, by source and age."""
    return [
        File(source, batch.key, batch.uri, batch.sha256, batch.size, batch.pin, batch.registered)
        for source in sources
        for batch in registered(home, pipeline, source)
    ]


def find(home: Home, pipeline: str, source: str, key: str) -> Batch:
    """The batch behind a partition key. Raises ``BatchError`` when nothing is registered under it."""
    file = _folder(home, pipeline, source) / f"{key}.json"
    if not file.exists():
        known = ", ".join(batch.key for batch in registered(home, pipeline, source)) or "none"
        raise BatchError(f"{pipeline}: source {source} has no batch {key!r}; registered: {known}")
    return Batch(**json.loads(file.read_text()))


def verify(batch: Batch) -> None:
    """Checks that the file is still what was registered. Raises ``BatchError``."""
    if batch.sha256 is None and batch.etag is None:
        return
    place = place_of(batch.place)
    try:
        file = pinned(batch.uri, place)
    except LocationError as error:
        raise BatchError(
            f"{batch.uri}: the file of batch {batch.key} is gone; put it back at {place} ({error})"
        ) from error
    found, then = _identity(file), _identity(batch)
    if found != then:
        kind = "sha256" if batch.sha256 is not None else "etag"
        raise BatchError(
            f"{batch.uri}: the file of batch {batch.key} changed since it was registered ({kind} {then} then, "
            f"{found} now); put the old content back, and add the new content as a file of its own"
        )


def forget(home: Home, pipeline: str, source: str, batch: Batch) -> None:
    """Takes a registration back."""
    (_folder(home, pipeline, source) / f"{batch.key}.json").unlink(missing_ok=True)


def _settled(place: Place) -> bool:
    """Whether the last change is long enough ago that another one would show in the time of change."""
    return not isinstance(place, Path) or time.time() - place.stat().st_mtime > _SETTLED


def _looks(home: Home, pipeline: str, source: str) -> dict[str, list[str]]:
    """For each place, how it looked when it was read and what its content was."""
    file = _folder(home, pipeline, source) / _LOOKS
    return json.loads(file.read_text()) if file.exists() else {}


def _remember(home: Home, pipeline: str, source: str, looks: dict[str, list[str]]) -> None:
    folder = _folder(home, pipeline, source)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / _LOOKS, json.dumps(looks, indent=0))


def _batch(file: SourceFile | RemoteFile) -> Batch:
    stem = _NOT_IN_A_KEY.sub("_", Path(file.uri).name.split(".")[0])[:_STEM]
    if isinstance(file, SourceFile):
        key = f"{stem}-{file.sha256[:8]}"
        return Batch(key, file.uri, str(file.path), file.sha256, file.size, _now())
    key = f"{stem}-{digest([file.uri, file.etag])[:8]}"
    return Batch(key, file.uri, file.uri, None, file.size, _now(), file.etag)


def _identity(of: Batch | SourceFile | RemoteFile) -> str:
    """What two files of the same content share."""
    if isinstance(of, RemoteFile):
        return of.etag
    if isinstance(of, SourceFile):
        return of.sha256
    return of.sha256 or of.etag or of.place


def _folder(home: Home, pipeline: str, source: str) -> Path:
    return home.batches / pipeline / source


def _write(home: Home, pipeline: str, source: str, batch: Batch) -> Batch:
    folder = _folder(home, pipeline, source)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / f"{batch.key}.json", json.dumps(asdict(batch), indent=1))
    return batch


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{id(text):x}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
