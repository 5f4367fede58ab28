"""Registered batches: which file a partition is, pinned by its content hash before anything reads it."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pref_assets.home import Home
from pref_assets.pairs.locations import SourceFile
from pref_assets.settings import digest

_NOT_IN_A_KEY = re.compile(r"[^A-Za-z0-9_-]+")
_STEM = 40


class BatchError(ValueError):
    """A registered file is gone or has other content now; the message says what to do."""


@dataclass(frozen=True)
class Batch:
    """One ingestion batch.

    Attributes:
        key: partition key: the start of the file's name and of its hash.
        uri: the file as the source's location names it, or the hub location.
        path: the file on this machine; null for a hub location.
        sha256: hash of the file's bytes; null for a hub location, which is pinned by its revision.
        size: bytes; null for a hub location.
        registered: when it was first seen, ISO 8601.
    """

    key: str
    uri: str
    path: str | None
    sha256: str | None
    size: int | None
    registered: str


def register_file(home: Home, pipeline: str, source: str, file: SourceFile) -> Batch:
    """Registers a file; a file whose content is registered already gives the batch that has it."""
    for batch in registered(home, pipeline, source):
        if batch.sha256 == file.sha256:
            return batch
    stem = _NOT_IN_A_KEY.sub("_", Path(file.uri).name.split(".")[0])[:_STEM]
    return _write(
        home,
        pipeline,
        source,
        Batch(f"{stem}-{file.sha256[:8]}", file.uri, str(file.path), file.sha256, file.size, _now()),
    )


def register_hub(home: Home, pipeline: str, source: str, location: str) -> Batch:
    """Registers a hub location as one batch. Another revision is another location, hence another batch."""
    for batch in registered(home, pipeline, source):
        if batch.uri == location:
            return batch
    return _write(home, pipeline, source, Batch(f"hub-{digest(location)[:8]}", location, None, None, None, _now()))


def registered(home: Home, pipeline: str, source: str) -> list[Batch]:
    """Every batch of a source, oldest first."""
    files = _folder(home, pipeline, source).glob("*.json")
    return sorted((Batch(**json.loads(file.read_text())) for file in files), key=lambda b: (b.registered, b.key))


def find(home: Home, pipeline: str, source: str, key: str) -> Batch:
    """The batch behind a partition key. Raises ``BatchError`` when nothing is registered under it."""
    file = _folder(home, pipeline, source) / f"{key}.json"
    if not file.exists():
        known = ", ".join(batch.key for batch in registered(home, pipeline, source)) or "none"
        raise BatchError(f"{pipeline}: source {source} has no batch {key!r}; registered: {known}")
    return Batch(**json.loads(file.read_text()))


def verify(batch: Batch) -> None:
    """Checks that the file is still what was registered. Raises ``BatchError``."""
    if batch.path is None:
        return
    path = Path(batch.path)
    if not path.is_file():
        raise BatchError(f"{batch.uri}: the file of batch {batch.key} is gone; put it back at {path}")
    found = sha256(path)
    if found != batch.sha256:
        raise BatchError(
            f"{batch.uri}: the file of batch {batch.key} changed since it was registered (sha256 {batch.sha256} then, "
            f"{found} now); put the old content back, and add the new content as a file of its own"
        )


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def forget(home: Home, pipeline: str, source: str, batch: Batch) -> None:
    """Takes a registration back."""
    (_folder(home, pipeline, source) / f"{batch.key}.json").unlink(missing_ok=True)


def _folder(home: Home, pipeline: str, source: str) -> Path:
    return home.batches / pipeline / source


def _write(home: Home, pipeline: str, source: str, batch: Batch) -> Batch:
    folder = _folder(home, pipeline, source)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{batch.key}.{id(batch):x}.tmp"
    temporary.write_text(json.dumps(asdict(batch), indent=1))
    temporary.replace(folder / f"{batch.key}.json")
    return batch


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
