"""From what a person types to what is withdrawn, checked against what there is."""

import difflib
import re
from collections.abc import Iterable, Sequence

import polars as pl

from pref_assets.lineage.find import SHOWN
from pref_assets.lineage.model import AmbiguousQueryError, UnknownQueryError
from pref_assets.lineage.tables import PipelineTables
from pref_assets.lineage.withdrawal import KINDS, Kind, Selector, tombstones
from pref_assets.pairs.schema import (
    COMPARISONS,
    PAIRS,
    RAW,
    RECORD_COMPLETIONS,
    RECORD_PROMPTS,
    RECORD_VOTES,
)

_ID = re.compile(r"[0-9a-f]{4,32}")
HELP = "source:NAME, file:URI, row:URI:NUMBER, annotator:NAME, prompt:ID, completion:ID or pair:ID"
_BY_ID: tuple[Kind, ...] = ("prompt", "completion", "pair")


def resolve(tables: PipelineTables, texts: Sequence[str]) -> list[Selector]:
    """The selectors that texts name, ids and file names completed.

    A file may be given by its last parts, an id by its first four or more characters. What is withdrawn already is
    found too, although its rows may be gone.

    Raises:
        ValueError: a text is no selector.
        UnknownQueryError: there is no such thing; the message names what is close.
        AmbiguousQueryError: several ids or files fit.
    """
    before = [Selector(kind, value) for kind, value in tombstones(tables.home, tables.pipeline)["kind", "value"].rows()]
    return list(dict.fromkeys(_resolve(tables, text, before) for text in texts))


def _resolve(tables: PipelineTables, text: str, before: list[Selector]) -> Selector:
    kind, colon, value = text.strip().partition(":")
    if kind not in KINDS or not colon or not value:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"; did you mean {close[0]}:…?" if close and kind not in KINDS else ""
        raise ValueError(f"{text!r} is no selector; write {HELP}{hint}")
    known = [each.value for each in before if each.kind == kind]
    if value in known:
        return Selector(kind, value)
    if kind in _BY_ID:
        return Selector(kind, _id(tables, kind, value, known))
    if kind == "row":
        return Selector(kind, _row(tables, value))
    if kind == "file":
        return Selector(kind, _file(tables, value))
    names = tables.names("raw") if kind == "source" else _annotators(tables)
    if value not in names:
        raise _unknown(tables, kind, value, names)
    return Selector(kind, value)


def _id(tables: PipelineTables, kind: str, value: str, known: list[str]) -> str:
    if not _ID.fullmatch(value):
        raise ValueError(f"{value!r} is no {kind} id; give 4 to 32 of its characters 0-9 and a-f")
    ids = pl.concat([_ids(tables, kind), pl.Series("id", known, dtype=pl.String)]).unique().sort()
    found = ids.filter(ids.str.starts_with(value)).to_list()
    if len(found) > 1:
        candidates = [(f"{kind}:{each}", "") for each in found[:SHOWN]]
        raise AmbiguousQueryError(f"{len(found)} {kind} ids start with {value!r}:", candidates)
    if not found:
        place = int(ids.search_sorted(value))
        raise UnknownQueryError(
            f"no {kind} of pipeline {tables.pipeline!r} has an id that starts with {value!r}; the nearest are "
            f"{', '.join(ids[max(0, place - 1) : place + 2]) or '(there are none)'}"
        )
    return str(found[0])


def _ids(tables: PipelineTables, kind: str) -> pl.Series:
    if kind == "pair":
        frames = [tables.scan("pairs", each.name, each).select(id="pair_id") for each in (PAIRS, COMPARISONS)]
    else:
        table = RECORD_PROMPTS if kind == "prompt" else RECORD_COMPLETIONS
        names = tables.names("records", f"_{kind}s")
        frames = [tables.scan("records", name, table).select(id=f"{kind}_id") for name in names]
    return _collected(frames, "id")


def _row(tables: PipelineTables, value: str) -> str:
    name, colon, number = value.rpartition(":")
    if not colon or not number.isdigit():
        raise ValueError(f"row:{value} names no row; write row:URI:NUMBER, the first row of a file being 1")
    uri = _file(tables, name)
    here = (pl.col("uri") == uri) & (pl.col("row") == int(number))
    frames = [tables.scan("raw", each, RAW) for each in tables.names("raw")]
    if all(frame.filter(here).select("row").collect().is_empty() for frame in frames):
        last = max(
            (frame.filter(pl.col("uri") == uri).select(pl.col("row").max()).collect().item() or 0) for frame in frames
        )
        raise UnknownQueryError(f"{uri} has no row {int(number)} (its last row is {last}), or it is withdrawn already")
    return f"{uri}:{int(number)}"


def _file(tables: PipelineTables, value: str) -> str:
    frames = [tables.scan("raw", name, RAW).select("uri") for name in tables.names("raw")]
    uris = _collected(frames, "uri").to_list()
    found = [uri for uri in uris if uri == value] or [uri for uri in uris if uri.endswith(f"/{value}")]
    if len(found) > 1:
        raise AmbiguousQueryError(
            f"{len(found)} files that were read end with {value!r}:", [(f"file:{uri}", "") for uri in found[:SHOWN]]
        )
    if not found:
        raise _unknown(tables, "file", value, uris)
    return str(found[0])


def _annotators(tables: PipelineTables) -> list[str]:
    votes = [
        tables.scan("records", each, RECORD_VOTES).select("annotator") for each in tables.names("records", "_votes")
    ]
    ratings = [
        tables.scan("records", each, RECORD_COMPLETIONS).select(
            pl.col("ratings").list.explode(keep_nulls=False, empty_as_null=False).struct.field("annotator")
        )
        for each in tables.names("records", "_completions")
    ]
    return [each for each in _collected([*votes, *ratings], "annotator").to_list() if each is not None]


def _collected(frames: Sequence[pl.LazyFrame], name: str) -> pl.Series:
    """Distinct values of the one column of all frames, sorted."""
    if not frames:
        return pl.Series(name, [], dtype=pl.String)
    return pl.concat([frame.unique() for frame in frames]).unique().collect(engine="streaming")[name].sort()


def _unknown(tables: PipelineTables, kind: str, value: str, known: Iterable[str]) -> UnknownQueryError:
    names = list(known)
    close = difflib.get_close_matches(value, names, n=3, cutoff=0.5)
    some = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {some or 'none'}"
    return UnknownQueryError(f"pipeline {tables.pipeline!r} has no {kind} {value!r}; {hint}")
