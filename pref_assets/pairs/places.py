"""Files wherever they are, on this machine or in an object store: found, looked at, and pinned by content."""

from dataclasses import dataclass
from pathlib import Path

from pref_assets.pairs.locations import (
    SUFFIXES,
    LocationError,
    SourceFile,
    find_files,
    has_data_name,
    is_remote,
    source_file,
)
from pref_assets.pairs.object_stores import find_objects, object_state

Place = Path | str
"""A path on this machine, or a URL that fsspec opens."""


@dataclass(frozen=True)
class RemoteFile:
    """An object of a source. ``etag`` is what its store says of its content."""

    uri: str
    etag: str
    size: int


def place_of(text: str) -> Place:
    """The place that a location's text names: a URL as it is, anything else a path."""
    return text if is_remote(text) else Path(text)


def find_places(location: str) -> list[tuple[str, Place]]:
    """``(uri, place)`` of every data file of a location, sorted by uri, without reading any.

    Raises:
        LocationError: nothing is there, or it cannot be looked at.
        ModelNotFoundError: a package location whose package is not installed.
    """
    if is_remote(location):
        found = find_objects(location)
        if found == [location] and not has_data_name(location):
            raise LocationError(f"{location}: cannot read this type of file; readable are {', '.join(SUFFIXES)}")
        return [(url, url) for url in found if has_data_name(url)]
    return list(find_files(location))


def look(place: Place) -> str | None:
    """What changes when a file changes, without reading it; nothing when it has just gone."""
    if isinstance(place, Path):
        try:
            status = place.stat()
        except OSError:
            return None
        return f"{status.st_size}-{status.st_mtime_ns}"
    try:
        etag, size = object_state(place)
    except LocationError:
        return None
    return f"{size}-{etag}"


def pinned(uri: str, place: Place) -> SourceFile | RemoteFile:
    """The file with what pins its content: its SHA-256, or what its store says. Raises ``LocationError``."""
    if isinstance(place, Path):
        return source_file(uri, place)
    etag, size = object_state(place)
    return RemoteFile(uri, etag, size)
