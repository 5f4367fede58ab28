"""Where preference data lies: files, folders, package data, and data sets on the Hugging Face hub."""

import glob
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pref_assets.models.reference import PACKAGE, package_path

HUB = "hf://"
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
_UNFINISHED = (".tmp", ".part", "~")
_HUB = re.compile(r"hf://(?P<name>[^/@:]+/[^/@:]+)(?:/(?P<config>[^@:]+))?(?:@(?P<revision>[^:]+))?(?::(?P<split>.+))?")


class LocationError(FileNotFoundError):
    """The location is not readable as such; the message says what to change."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a source. ``uri`` is what provenance shows, ``path`` is where it is on this machine."""

    uri: str
    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class HubLocation:
    """A data set on the hub. ``config`` names a configuration, or else a folder of its repository."""

    name: str
    config: str | None = None
    revision: str | None = None
    split: str | None = None


def is_hub(location: str) -> bool:
    """Whether the location is a data set on the hub."""
    return location.startswith(HUB)


def parse_hub(location: str) -> HubLocation:
    """Reads ``hf://org/name[/config][@revision][:split]``.

    Raises:
        LocationError: the location has another shape.
    """
    match = _HUB.fullmatch(location)
    if match is None:
        raise LocationError(f"{location}: a hub location is hf://org/name[/config][@revision][:split]")
    return HubLocation(**match.groupdict())


def find_files(location: str) -> list[tuple[str, Path]]:
    """``(uri, path)`` of every data file of a local location, sorted by uri, without reading any.

    The location is a file, a folder (its own files, not its subfolders'), a glob (``data/**/*.jsonl.gz``), or either
    inside an installed package (``package://module/folder``). Other file types, dot files and unfinished copies
    (``*.tmp``, ``*.part``, ``*~``) are skipped. Uris keep the location as written, so that a relative location gives
    the same uris on every machine.

    Raises:
        LocationError: nothing is there, or a single named file is of a type that cannot be read.
        ModelNotFoundError: the package is not installed or has no such path.
    """
    if is_hub(location):
        raise LocationError(f"{location}: a hub location has no local files; read it with read_hub")
    if location.startswith(PACKAGE):
        root = package_path(location)
        return [(_below(location, root, path), path) for path in _data_files(location, root)]
    root = Path(location).expanduser()
    if root.exists():
        return [(_below(location, root, path), path.absolute()) for path in _data_files(location, root)]
    if glob.has_magic(location):
        matches = (Path(match) for match in glob.iglob(str(root), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        return sorted((path.as_posix(), path.absolute()) for path in matches if _is_data_file(path))
    raise LocationError(f"{location}: no such file or folder (looked at {root.absolute()})")


def source_file(uri: str, path: Path) -> SourceFile:
    """The file with its size and SHA-256."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SourceFile(uri=uri, path=path, sha256=digest, size=path.stat().st_size)


def list_files(location: str) -> list[SourceFile]:
    """Every data file of a local location with its hash, sorted by uri; raises as `find_files` does."""
    return [source_file(uri, path) for uri, path in find_files(location)]


def _data_files(location: str, root: Path) -> list[Path]:
    if root.is_dir():
        return sorted(path for path in root.iterdir() if _is_data_file(path))
    if not _is_data_file(root):
        raise LocationError(f"{location}: cannot read {root.name!r}; readable are {', '.join(SUFFIXES)}")
    return [root]


def _is_data_file(path: Path) -> bool:
    name = path.name
    return path.is_file() and not name.startswith(".") and not name.endswith(_UNFINISHED) and name.endswith(SUFFIXES)


def _below(location: str, root: Path, path: Path) -> str:
    return location if path == root else f"{location.rstrip('/')}/{path.name}"
