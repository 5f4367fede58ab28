"""Records collected column by column: building a Polars list from Python dictionaries costs fifty times more."""

import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from pref_assets.pairs.ids import completion_id, prompt_id
from pref_assets.pairs.readers.record import Answer, Record
from pref_assets.pairs.schema import (
    MESSAGES,
    RATINGS,
    RECORD_COMPLETIONS,
    RECORD_PROMPTS,
    RECORD_VOTES,
    Table,
)

_IMAGES = pl.List(pl.String)


class _Lists:
    """A list column under construction: flat items, and the row that owns each."""

    def __init__(self, dtype: pl.List) -> None:
        self._dtype = dtype
        self._items: list[tuple[Any, ...]] = []
        self._owners: list[int] = []
        self._rows = 0

    def append(self, items: Sequence[tuple[Any, ...]]) -> None:
        self._items.extend(items)
        self._owners.extend([self._rows] * len(items))
        self._rows += 1

    def series(self) -> pl.Series:
        """One list for each appended sequence."""
        empty = pl.lit([], dtype=self._dtype)
        rows = pl.DataFrame({"owner": pl.int_range(self._rows, eager=True)})
        if not self._items:
            return rows.select(pl.repeat(empty, pl.len(), dtype=self._dtype)).to_series()
        inner = self._dtype.inner
        fields = {f.name: f.dtype for f in inner.fields} if isinstance(inner, pl.Struct) else {"item": inner}
        columns = zip(*self._items, strict=True)
        named = zip(fields.items(), columns, strict=True)
        flat = pl.DataFrame([pl.Series(name, column, dtype=dtype) for (name, dtype), column in named])
        flat = flat.with_columns(pl.Series("owner", self._owners, dtype=pl.Int64).set_sorted())
        item = pl.struct(list(fields)) if isinstance(inner, pl.Struct) else pl.col("item")
        lists = flat.group_by("owner", maintain_order=True).agg(item.alias("list"))
        if lists.height < self._rows:
            lists = rows.join(lists, on="owner", how="left", maintain_order="left")
        return lists.select(pl.col("list").cast(self._dtype).fill_null(empty)).to_series()


class RecordFrames:
    """Collects the records of a batch and builds its three frames."""

    def __init__(self) -> None:
        self._prompts: list[tuple[int, str, str | None, str | None]] = []
        self._prompt_turns = _Lists(MESSAGES)
        self._images = _Lists(_IMAGES)
        self._completions: list[tuple[int, str, str, str | None, int]] = []
        self._turns = _Lists(MESSAGES)
        self._ratings = _Lists(RATINGS)
        self._votes: list[tuple[int, str, str, str, str, str, str, float | None, str | None]] = []

    def add(self, record: Record, position: int) -> None:
        """Adds the record read from raw row ``position`` (from 0)."""
        prompt = prompt_id(record.turns, record.images, record.context)
        metadata = json.dumps(record.metadata, ensure_ascii=False, sort_keys=True) if record.metadata else None
        self._prompts.append((position, prompt, record.context, metadata))
        self._prompt_turns.append(record.turns)
        self._images.append([(image,) for image in record.images])
        ids = [self._add_answer(answer, prompt, position, place) for place, answer in enumerate(record.answers)]
        for vote in record.votes:
            a, b, choice = ids[vote.a], ids[vote.b], vote.choice
            if a > b:
                a, b, choice = b, a, {"a": "b", "b": "a"}.get(choice, choice)
            said = vote.annotator, vote.dimension, choice, vote.strength, vote.rationale
            self._votes.append((position, prompt, a, b, *said))

    def _add_answer(self, answer: Answer, prompt: str, position: int, place: int) -> str:
        completion = completion_id(prompt, answer.turns)
        self._completions.append((position, completion, prompt, answer.model, place))
        self._turns.append(answer.turns)
        ratings = [(r.dimension, r.value, r.annotator, r.rationale) for r in answer.ratings] if answer.ratings else ()
        self._ratings.append(ratings)
        return completion

    def build(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Prompts, completions and votes, each with the file and row of the raw row it came from."""
        prompts = _frame(RECORD_PROMPTS, ("prompt_id", "context", "metadata"), self._prompts)
        prompts = prompts.with_columns(messages=self._prompt_turns.series(), images=self._images.series())
        completions = _frame(RECORD_COMPLETIONS, ("completion_id", "prompt_id", "model", "position"), self._completions)
        completions = completions.with_columns(messages=self._turns.series(), ratings=self._ratings.series())
        columns = tuple(name for name in RECORD_VOTES.columns if name not in _SOURCE)
        votes = _frame(RECORD_VOTES, columns, self._votes)
        tables = ((RECORD_PROMPTS, prompts), (RECORD_COMPLETIONS, completions), (RECORD_VOTES, votes))
        first, second, third = (table.conform(_located(frame, raw)) for table, frame in tables)
        return first, second, third


_SOURCE = ("source", "uri", "row", "batch")
_AT = "at"
"""Working column: position of the raw row."""


def _frame(table: Table, names: tuple[str, ...], rows: list[Any]) -> pl.DataFrame:
    columns: Any = zip(*rows, strict=True) if rows else [()] * (len(names) + 1)
    dtypes = [pl.Int64, *(table.columns[name].dtype for name in names)]
    named = zip((_AT, *names), columns, dtypes, strict=True)
    return pl.DataFrame([pl.Series(name, values, dtype=dtype) for name, values, dtype in named])


def _located(frame: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame.drop(_AT), raw.select(_SOURCE)[frame[_AT]]], how="horizontal")
