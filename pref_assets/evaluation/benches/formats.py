"""Rows of public benches as one frame: a row for each answer, with its side and place in its list."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from pref_assets.pairs.schema import MESSAGES, completion_id, prompt_id

Format = Literal["reward_bench", "reward_bench_2", "rm_bench", "llmbar"]
CHOSEN, REJECTED = "chosen", "rejected"
STYLES = ("concise", "detailed", "markdown")
"""RM-Bench's styles of answer, in the order of its lists, from plain to fancy."""

_BENCH: dict[str, pl.DataType | type[pl.DataType]] = {
    "item": pl.Int64,
    "name": pl.String,
    "subset": pl.String,
    "prompt_id": pl.String,
    "prompt": MESSAGES,
    "side": pl.String,
    "place": pl.Int64,
    "completion_id": pl.String,
    "messages": MESSAGES,
}
BENCH = pl.Schema(_BENCH)
"""``item`` numbers the bench's rows from 1 over all files; ``name`` is the row's own id where it has one."""


class BenchRowError(ValueError):
    """A row is not of the format; the message has its place, field, and what is expected."""


@dataclass(frozen=True)
class _Row:
    name: str
    subset: str
    prompt: Sequence[Mapping[str, str]]
    chosen: Sequence[str]
    rejected: Sequence[str]


def read_bench(location: str, kind: Format, subsets: Sequence[str] | None = None) -> pl.DataFrame:
    """A bench as a ``BENCH`` frame in the order of its files and rows.

    Args:
        location: files, a folder, a glob, ``package://…``, a URL of an object store or ``hf://org/name[@rev][:split]``.
        kind: format of the rows.
        subsets: keep only these; all when null.

    Raises:
        BenchRowError: a row that is not of the format, no row at all, or a subset that does not occur.
        LocationError, UnreadableError: nothing is at the location, or a file as a whole cannot be read.
    """
    parse = _PARSERS[kind]
    found: list[tuple[Any, ...]] = []
    seen: set[str] = set()
    for number, (where, uri, row) in enumerate(_rows(location), 1):
        try:
            parsed = parse(row, uri)
        except (KeyError, TypeError, ValueError) as error:
            what = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
            raise BenchRowError(f"{where}: no row of format {kind!r}: {what}") from error
        seen.add(parsed.subset)
        if subsets is None or parsed.subset in subsets:
            found += _answers(number, parsed)
    if unknown := sorted(set(subsets or ()) - seen):
        raise BenchRowError(f"{location}: no subset {unknown}; there are {sorted(seen)}")
    if not found:
        raise BenchRowError(f"{location}: no rows")
    return pl.DataFrame(found, schema=BENCH, orient="row")


def bench_rows(location: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of any bench with its place (file and row). Raises as ``read_bench`` does."""
    return ((where, row) for where, _, row in _rows(location))


def _answers(number: int, row: _Row) -> Iterator[tuple[Any, ...]]:
    asked = prompt_id(row.prompt)
    for side, texts in ((CHOSEN, row.chosen), (REJECTED, row.rejected)):
        for place, text in enumerate(texts):
            said = [{"role": "assistant", "content": text}]
            completion = completion_id(asked, said)
            yield number, row.name, row.subset, asked, list(row.prompt), side, place, completion, said


def _reward_bench(row: dict[str, Any], uri: str) -> _Row:
    return _Row(_name(row), _text(row, "subset"), _turns(row["prompt"]), [_text(row, CHOSEN)], [_text(row, REJECTED)])


def _reward_bench_2(row: dict[str, Any], uri: str) -> _Row:
    chosen, rejected = _texts(row, CHOSEN), _texts(row, REJECTED)
    return _Row(_name(row), _text(row, "subset"), _turns(row["prompt"]), chosen, rejected)


def _rm_bench(row: dict[str, Any], uri: str) -> _Row:
    chosen, rejected = _texts(row, CHOSEN), _texts(row, REJECTED)
    if {len(chosen), len(rejected)} != {len(STYLES)}:
        raise ValueError(f"`chosen` and `rejected` have {len(chosen)} and {len(rejected)} answers, expected 3 and 3")
    return _Row(_name(row), _text(row, "domain"), _turns(row["prompt"]), chosen, rejected)


def _llmbar(row: dict[str, Any], uri: str) -> _Row:
    label = row["label"]
    if label not in (1, 2):
        raise ValueError(f"`label` is {label!r}, expected 1 or 2")
    first, second = _text(row, "output_1"), _text(row, "output_2")
    better, worse = (first, second) if label == 1 else (second, first)
    return _Row("", Path(uri).name.split(".json")[0], _turns(_text(row, "input")), [better], [worse])


_PARSERS: dict[Format, Callable[[dict[str, Any], str], _Row]] = {
    "reward_bench": _reward_bench,
    "reward_bench_2": _reward_bench_2,
    "rm_bench": _rm_bench,
    "llmbar": _llmbar,
}


def _name(row: dict[str, Any]) -> str:
    return str(row.get("id", ""))


def _turns(prompt: Any) -> list[dict[str, str]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if isinstance(prompt, list) and prompt:
        return [{"role": _text(turn, "role"), "content": _text(turn, "content")} for turn in prompt]
    raise ValueError(f"`prompt` is {type(prompt).__name__}, expected a string or a list of turns")


def _text(row: dict[str, Any], field: str) -> str:
    value = row[field]
    if not isinstance(value, str):
        raise ValueError(f"`{field}` is {type(value).__name__}, expected a string")
    return value


def _texts(row: dict[str, Any], field: str) -> list[str]:
    value = row[field]
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise ValueError(f"`{field}` is no list of one or more strings")
    return value


def _rows(location: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each row with its place and file."""
    from pref_assets.pairs.locations import find_files, is_hub, is_remote
    from pref_assets.pairs.object_stores import find_objects
    from pref_assets.pairs.reading import read_chunks

    if is_hub(location):
        places: list[tuple[str, Path | str]] = [(location, location)]
    elif is_remote(location):
        places = [(url, url) for url in find_objects(location)]
    else:
        places = list(find_files(location))
    for uri, place in places:
        for chunk in read_chunks(place, uri, "bench", "bench"):
            for where, number, payload, code, reason in chunk.select("uri", "row", "payload", "code", "reason").rows():
                if code is not None:
                    raise BenchRowError(f"{where}, row {number}: {reason} ({code}); mend the file")
                yield f"{where}, row {number}", where, json.loads(payload)
