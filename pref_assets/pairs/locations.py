"""Where preference data lies: files, folders, package data, object stores, and data sets on the Hugging Face hub."""

import errno
import fnmatch
import glob
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pref_assets.models.reference import PACKAGE, package_path

HUB = "hf://"
SUFFIXES = (
    ".jsonl",
    ".jsonl.gz",
    ".json",
    ".json.gz",
    ".csv",
    ".csv.gz",
    ".parquet",
    ".arrow",
    ".feather",
    ".zip",
)
_UNFINISHED = (".tmp", ".part", "~")
_REMOTE = re.compile(r"(?!hf:|package:)[a-z][a-z0-9+.-]+://.+")
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


def is_remote(location: str) -> bool:
    """Whether the location is a URL of an object store."""
    return _REMOTE.fullmatch(location) is not None


def has_data_name(name: str) -> bool:
    """Whether the end of a file's name or URL says that it can be read, and that it is finished."""
    last = name.rpartition("/")[2].lower()
    return not last.startswith(".") and not last.endswith(_UNFINISHED) and last.endswith(SUFFIXES)


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

    The location is a file, a folder (its own files, not its subfolders'; or one that ``datasets`` saved: its Arrow
    files), a glob (``data/**/*.jsonl.gz``), or any of these inside an installed package (``package://module/folder``).
    Other file types, dot files and unfinished copies (``*.tmp``, ``*.part``, ``*~``) are skipped; links that lead
    nowhere are not, so that `source_file` can name them. Uris keep the location as written, so that a relative location
    gives the same uris on every machine. A glob enters each folder once, whatever links lead to it.

    Raises:
        LocationError: nothing is there, or a single named file is of a type that cannot be read.
        ModelNotFoundError: the package is not installed or has no such path.
    """
    if is_hub(location) or is_remote(location):
        raise LocationError(f"{location}: only files on this machine can be read here; download them first")
    if location.startswith(PACKAGE):
        root = package_path(location)
        return [(_below(location, root, path), path) for path in _data_files(location, root)]
    root = Path(location).expanduser()
    if os.path.lexists(root):
        return [(_below(location, root, path), path.absolute()) for path in _data_files(location, root)]
    if glob.has_magic(location):
        return sorted((path.as_posix(), path.absolute()) for path in _matches(root) if _is_data_file(path))
    raise LocationError(f"{location}: no such file or folder (looked at {root.absolute()})")


def source_file(uri: str, path: Path) -> SourceFile:
    """The file with its size and SHA-256. Raises ``LocationError`` when it is no file that can be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise LocationError(f"{uri}: no regular file but a pipe, socket or device; copy its data to a file")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = os.fstat(stream.fileno()).st_size
    except LocationError:
        raise
    except OSError as error:
        raise LocationError(f"{uri}: {_why(path, error)}") from error
    return SourceFile(uri=uri, path=path, sha256=digest, size=size)


def file_hashes(location: str) -> tuple[tuple[str, str], ...]:
    """Uri and SHA-256 of every file of a location on this machine, sorted; nothing where there is none, on the hub or
    in an object store. A file is hashed again only when its size or time of change differ."""
    if is_hub(location) or is_remote(location):
        return ()
    try:
        found = find_files(location)
    except LocationError:
        return ()
    return tuple((uri, _hashed(path, path.stat().st_size, path.stat().st_mtime_ns)) for uri, path in found)


@lru_cache(maxsize=256)
def _hashed(path: Path, size: int, changed: int) -> str:
    return source_file(str(path), path).sha256


def list_files(location: str) -> list[SourceFile]:
    """Every data file of a local location with its hash, sorted by uri; raises as `find_files` does."""
    return [source_file(uri, path) for uri, path in find_files(location)]


def _why(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "a link that leads back to itself; remove it"
    if error.errno == errno.ENOENT and path.is_symlink():
        return f"a link to {os.readlink(path)}, which is not there; remove it or put the file back"  # noqa: PTH115
    return f"cannot be read ({error.strerror}); check that it is there and may be read"


def _data_files(location: str, root: Path) -> list[Path]:
    if root.is_dir():
        saved = _saved_files(location, root)
        return saved or sorted(path for path in root.iterdir() if _is_data_file(path))
    if not _is_data_file(root):
        raise LocationError(f"{location}: cannot read {root.name!r}; readable are {', '.join(SUFFIXES)}")
    return [root]


def _saved_files(location: str, root: Path) -> list[Path]:
    """Arrow files of a folder that ``datasets`` saved, in order; none for another folder."""
    try:
        if (root / "dataset_dict.json").is_file():
            splits = json.loads((root / "dataset_dict.json").read_text())["splits"]
            return [path for split in sorted(splits) for path in _saved_files(location, root / str(split))]
        if (root / "state.json").is_file() and (root / "dataset_info.json").is_file():
            files = json.loads((root / "state.json").read_text())["_data_files"]
            return [root / Path(file["filename"]).name for file in files]
    except (ValueError, KeyError, TypeError) as error:
        raise LocationError(f"{location}: a saved data set whose description is damaged ({error!r})") from error
    return []


def _is_data_file(path: Path) -> bool:
    """By its name; a link that leads nowhere counts, a folder does not."""
    return has_data_name(path.name) and not path.is_dir()


def _matches(pattern: Path) -> Iterator[Path]:
    """Files that a pattern with ``*``, ``?``, ``[…]`` and ``**`` names; every folder is entered once."""
    parts = pattern.parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        here = Path(folder)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        depth = len(here.relative_to(root).parts)
        open_ended = "**" in parts[fixed:] or depth < len(parts) - fixed - 1
        folders[:] = sorted(name for name in folders if open_ended)
        below = here.relative_to(root).parts
        yield from (here / name for name in sorted(files) if _fits((*below, name), parts[fixed:]))


def _fits(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether path segments fit a pattern's; ``**`` stands for any number of them, none of which is hidden."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return _fits(names, pattern[1:]) or (bool(names) and not names[0].startswith(".") and _fits(names[1:], pattern))
    if not names or (names[0].startswith(".") and not pattern[0].startswith(".")):
        return False
    return fnmatch.fnmatchcase(names[0], pattern[0]) and _fits(names[1:], pattern[1:])


def _below(location: str, root: Path, path: Path) -> str:
    return location if path == root else f"{location.rstrip('/')}/{path.relative_to(root).as_posix()}"
