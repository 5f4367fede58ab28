"""Texts of benches, and the hash that says whether they are still the same."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from pref_assets.pairs.decontamination.settings import Bench, Decontamination
from pref_assets.settings import digest

_TEXTS = {"bench": pl.String, "bench_row": pl.Int64, "text": pl.String}


class BenchError(ValueError):
    """A bench cannot be read as its settings say; the message names it and what to change."""


@dataclass(frozen=True)
class BenchTexts:
    """``frame``: bench, bench_row, text, equal texts of a bench once (the first row). ``fingerprint``: hash of it."""

    frame: pl.DataFrame
    fingerprint: str


def bench_texts(settings: Decontamination) -> BenchTexts:
    """All texts of all benches.

    Raises:
        BenchError: a row cannot be read, or holds no text where the settings say.
        LocationError, UnreadableError: nothing is at the location, or a file as a whole cannot be read.
    """
    rows = [row for name, bench in sorted(settings.benches.items()) for row in _texts(name, bench)]
    frame = pl.DataFrame(rows, schema=_TEXTS, orient="row")
    frame = frame.unique(["bench", "text"], keep="first", maintain_order=True)
    return BenchTexts(frame, digest(frame.rows()))


def _texts(name: str, bench: Bench) -> Iterator[tuple[str, int, str]]:
    for number, (where, row) in enumerate(_rows(name, bench), 1):
        found = [text for path in bench.texts for text in _at(row, path.split("."))]
        if not found:
            raise BenchError(
                f"bench {name!r}: {where}: no text at {', '.join(bench.texts)}; its fields are {', '.join(row)}"
            )
        yield from ((name, number, text) for text in found)


def _rows(name: str, bench: Bench) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row and where it is, file after file."""
    from pref_assets.pairs.locations import find_files, is_hub, is_remote
    from pref_assets.pairs.object_stores import find_objects
    from pref_assets.pairs.reading import read_chunks

    places: list[tuple[str, Any]] = []
    if is_hub(bench.location):
        places = [(bench.location, bench.location)]
    elif is_remote(bench.location):
        places = [(url, url) for url in find_objects(bench.location)]
    else:
        places = list(find_files(bench.location))
    if not places:
        raise BenchError(f"bench {name!r}: no data files at {bench.location}")
    for uri, place in places:
        for chunk in read_chunks(place, uri, name, name):
            for where, number, payload, code, reason in chunk.select("uri", "row", "payload", "code", "reason").rows():
                if code is not None:
                    raise BenchError(f"bench {name!r}: {reason} ({code}); mend the file or leave the row out")
                yield f"{where}, row {number}", json.loads(payload)


def _at(value: Any, path: list[str]) -> Iterator[str]:
    """Strings at the path, those of every element where a list is on the way."""
    if isinstance(value, list):
        for element in value:
            yield from _at(element, path)
    elif not path:
        if isinstance(value, str):
            yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _at(value[path[0]], path[1:])
