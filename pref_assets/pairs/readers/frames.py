"""Records collected column by column: building a Polars list from Python dictionaries costs fifty times more, and flat
lists of text, unlike a tuple a row, are nothing for Python's garbage collector to walk again and again."""

import json
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
    """A list column under construction: the items' fields, flat, and how many items each row has."""

    def __init__(self, dtype: pl.List) -> None:
        inner = dtype.inner
        fields = {field.name: field.dtype for field in inner.fields} if isinstance(inner, pl.Struct) else {"": inner}
        self._dtype = dtype
        self._fields = fields
        self.items: tuple[list[Any], ...] = tuple([] for _ in fields)
        self.counts: list[int] = []

    def series(self) -> pl.Series:
        """One list for each count."""
        named = zip(self._fields.items(), self.items, strict=True)
        flat = pl.DataFrame([pl.Series(name, column, dtype=dtype) for (name, dtype), column in named])
        item = pl.struct(pl.all()) if isinstance(self._dtype.inner, pl.Struct) else pl.first()
        counts = pl.Series("count", self.counts, dtype=pl.UInt32)
        if counts.len() == flat.height and (counts == 1).all():
            return flat.select(item.reshape((-1, 1)).arr.to_list().cast(self._dtype).alias("list"))["list"]
        rows = pl.DataFrame({"count": counts}).with_row_index("owner")
        owners = rows.select(pl.col("owner").repeat_by("count").explode(empty_as_null=False))["owner"]
        flat = flat.select(item.alias("list")).with_columns(owner=owners.set_sorted())
        lists = flat.group_by("owner", maintain_order=True).agg("list")
        if lists.height < rows.height:
            lists = rows.join(lists, on="owner", how="left", maintain_order="left")
        empty = pl.lit([], dtype=self._dtype)
        return lists.select(pl.col("list").cast(self._dtype).fill_null(empty))["list"]


class _Rows:
    """Plain columns under construction, and the raw row that each row came from."""

    def __init__(self, table: Table, names: tuple[str, ...]) -> None:
        self._dtypes = [table.columns[name].dtype for name in names]
        self._names = names
        self.at: list[int] = []
        self.columns: tuple[list[Any], ...] = tuple([] for _ in names)

    def frame(self, raw: pl.DataFrame, **lists: pl.Series) -> pl.DataFrame:
        """The columns, the list columns, and the source columns of the raw rows."""
        named = zip(self._names, self.columns, self._dtypes, strict=True)
        frame = pl.DataFrame([pl.Series(name, values, dtype=dtype) for name, values, dtype in named])
        where = raw.select(_SOURCE)[pl.Series(self.at, dtype=pl.UInt32)]
        return pl.concat([frame.with_columns(**lists), where], how="horizontal")


_SOURCE = ("source", "uri", "row", "batch")
_VOTE = tuple(name for name in RECORD_VOTES.columns if name not in _SOURCE)
_OTHER = {"a": "b", "b": "a"}


class RecordFrames:
    """Collects the records of a batch and builds its three frames."""

    def __init__(self) -> None:
        self._prompts = _Rows(RECORD_PROMPTS, ("prompt_id", "context", "metadata"))
        self._prompt_turns = _Lists(MESSAGES)
        self._images = _Lists(_IMAGES)
        self._completions = _Rows(RECORD_COMPLETIONS, ("completion_id", "prompt_id", "model", "position"))
        self._turns = _Lists(MESSAGES)
        self._ratings = _Lists(RATINGS)
        self._votes = _Rows(RECORD_VOTES, _VOTE)

    def add(self, record: Record, position: int) -> None:
        """Adds the record read from raw row ``position`` (from 0)."""
        asked = prompt_id(record.turns, record.images, record.context)
        self._prompts.at.append(position)
        ids, contexts, metadata = self._prompts.columns
        ids.append(asked)
        contexts.append(record.context)
        metadata.append(_json(record.metadata) if record.metadata else None)
        _add_turns(self._prompt_turns, record.turns)
        self._images.items[0].extend(record.images)
        self._images.counts.append(len(record.images))
        answers = [self._add_answer(answer, asked, position, place) for place, answer in enumerate(record.answers)]
        for vote in record.votes:
            a, b, choice = answers[vote.a], answers[vote.b], vote.choice
            if a > b:
                a, b, choice = b, a, _OTHER.get(choice, choice)
            said = asked, a, b, vote.annotator, vote.dimension, choice, vote.strength, vote.rationale
            self._votes.at.append(position)
            for column, value in zip(self._votes.columns, said, strict=True):
                column.append(value)

    def _add_answer(self, answer: Answer, prompt: str, position: int, place: int) -> str:
        completion = completion_id(prompt, answer.turns)
        self._completions.at.append(position)
        ids, prompts, models, places = self._completions.columns
        ids.append(completion)
        prompts.append(prompt)
        models.append(answer.model)
        places.append(place)
        _add_turns(self._turns, answer.turns)
        self._ratings.counts.append(len(answer.ratings))
        for rating in answer.ratings:
            said = rating.dimension, rating.value, rating.annotator, rating.rationale
            for column, value in zip(self._ratings.items, said, strict=True):
                column.append(value)
        return completion

    def build(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Prompts, completions and votes, each with the file and row of the raw row it came from."""
        prompts = self._prompts.frame(raw, messages=self._prompt_turns.series(), images=self._images.series())
        completions = self._completions.frame(raw, messages=self._turns.series(), ratings=self._ratings.series())
        return (
            RECORD_PROMPTS.conform(prompts),
            RECORD_COMPLETIONS.conform(completions),
            RECORD_VOTES.conform(self._votes.frame(raw)),
        )


def _json(metadata: dict[str, Any]) -> str:
    return json.dumps(metadata, ensure_ascii=False, sort_keys=True)


def _add_turns(lists: _Lists, turns: Any) -> None:
    roles, contents = lists.items
    for role, content in turns:
        roles.append(role)
        contents.append(content)
    lists.counts.append(len(turns))
