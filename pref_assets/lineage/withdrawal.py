"""Withdrawals: what may not be used any more, and the tables without it.

A tombstone is a row of ``WITHDRAWALS``: it names a source, a file, a row, an annotator or an id, and holds for what
is there and for what comes later. Tombstones are never taken back.
"""

import fcntl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, get_args

import polars as pl

from pref_assets.home import Home
from pref_assets.lineage.tables import PipelineTables
from pref_assets.pairs.ids import pair_id
from pref_assets.pairs.schema import WITHDRAWALS, content_id
from pref_assets.pairs.votes import SIDES
from pref_assets.tables import Snapshot, TableStore

Kind = Literal["source", "file", "row", "annotator", "prompt", "completion", "pair"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TABLE = "withdrawals"
"""Name of the table, and of its asset, in the pairs stage."""


@dataclass(frozen=True)
class Selector:
    """What is withdrawn. The value of a row is ``<uri>:<number>``, of a prompt, completion or pair its whole id."""

    kind: Kind
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    @property
    def id(self) -> str:
        return content_id("withdrawal", self.kind, self.value)


class Records(NamedTuple):
    """Frames of ``RECORD_PROMPTS``, ``RECORD_COMPLETIONS`` and ``RECORD_VOTES``."""

    prompts: pl.LazyFrame
    completions: pl.LazyFrame
    votes: pl.LazyFrame


class Tombstones:
    """Selectors as conditions on tables."""

    def __init__(self, selectors: Iterable[Selector]) -> None:
        by_kind: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for each in dict.fromkeys(selectors):
            by_kind[each.kind].append(each.value)
        self._values = by_kind

    @classmethod
    def of(cls, table: pl.DataFrame) -> "Tombstones":
        """Those of a frame of ``WITHDRAWALS``."""
        return cls(Selector(kind, value) for kind, value in table.select("kind", "value").iter_rows())

    def __bool__(self) -> bool:
        return any(self._values.values())

    def places(self) -> pl.Expr:
        """Rows of a table with columns source, uri and row whose place in the data is withdrawn."""
        return _any(self._places(pl.col))

    def prompts(self) -> pl.Expr:
        """Rows of ``RECORD_PROMPTS`` that go."""
        return _any(self._places(pl.col), self._in("prompt", "prompt_id"))

    def completions(self) -> pl.Expr:
        """Rows of ``RECORD_COMPLETIONS`` that go."""
        return _any([self.prompts()], self._in("completion", "completion_id"))

    def rated(self) -> pl.Expr:
        """Rows of ``RECORD_COMPLETIONS`` with ratings that go."""
        return _any(self._lists("ratings", self._annotators(_field("annotator"))))

    def said_of(self) -> pl.Expr:
        """Rows of ``COMPLETIONS`` of which anything withdrawn may have been said: by a withdrawn annotator, or in a
        withdrawn row that held the answer."""
        annotators = self._lists("ratings", self._annotators(_field("annotator")))
        return _any(annotators, self._lists("provenance", self._places(_field)))

    def votes(self) -> pl.Expr:
        """Rows of ``RECORD_VOTES`` that go, but for votes across prompts on answers to a withdrawn prompt."""
        sides = [each for side in SIDES for each in self._in("completion", side)]
        pairs = [_pair_ids().is_in(self._values["pair"]).fill_null(False)] if self._values["pair"] else []
        return _any([self.prompts()], sides, self._annotators(pl.col("annotator")), pairs)

    def pairs(self) -> pl.Expr:
        """Rows of ``COMPARISONS`` or ``PAIRS`` that hold anything withdrawn: a row, a vote, the prompt or a side."""
        return _any(
            self._in("pair", "pair_id"),
            self._in("prompt", "prompt_id"),
            self._in("completion", "chosen_id"),
            self._in("completion", "rejected_id"),
            self._lists("votes", self._annotators(_field("annotator"))),
            self._lists("provenance", self._places(_field)),
        )

    def named_pairs(self) -> pl.Expr:
        """Rows of ``COMPARISONS`` that are withdrawn by their own id."""
        return _any(self._in("pair", "pair_id"))

    def without(self, records: Records) -> Records:
        """The records without everything withdrawn, not read yet.

        A completion or prompt stays as long as one row that holds it does. Nothing is withdrawn from ratings but by
        their annotator or place: a pair whose votes ratings imply is withdrawn when it has been merged.
        """
        if not self:
            return records
        completions = records.completions.filter(~self.completions())
        if rated := self._annotators(_field("annotator")):
            completions = completions.with_columns(pl.col("ratings").list.eval(pl.element().filter(~_any(rated))))
        votes = records.votes.filter(~self.votes())
        if self._values["prompt"]:
            answers = records.completions.filter(_any(self._in("prompt", "prompt_id"))).select("completion_id").unique()
            for side in SIDES:
                votes = votes.join(answers, left_on=side, right_on="completion_id", how="anti")
        return Records(records.prompts.filter(~self.prompts()), completions, votes)

    def _in(self, kind: Kind, column: str) -> list[pl.Expr]:
        return self._among(kind, pl.col(column))

    def _annotators(self, annotator: pl.Expr) -> list[pl.Expr]:
        return self._among("annotator", annotator)

    def _among(self, kind: Kind, value: pl.Expr) -> list[pl.Expr]:
        return [value.is_in(self._values[kind]).fill_null(False)] if self._values[kind] else []

    def _places(self, field: Callable[[str], pl.Expr]) -> list[pl.Expr]:
        numbers: dict[str, list[int]] = {}
        for value in self._values["row"]:
            uri, _, number = value.rpartition(":")
            numbers.setdefault(uri, []).append(int(number))
        rows = [(field("uri") == uri) & field("row").is_in(found) for uri, found in numbers.items()]
        return [*self._among("source", field("source")), *self._among("file", field("uri")), *rows]

    @staticmethod
    def _lists(column: str, items: list[pl.Expr]) -> list[pl.Expr]:
        """Whether any item of a list column meets any of the conditions."""
        return [pl.col(column).list.eval(_any(items)).list.any().fill_null(False)] if items else []


def _any(*conditions: list[pl.Expr]) -> pl.Expr:
    together = [each for part in conditions for each in part]
    return pl.any_horizontal(together) if together else pl.lit(False)


def _field(name: str) -> pl.Expr:
    return pl.element().struct.field(name)


def withdrawn(prompts: pl.LazyFrame, completions: pl.LazyFrame, votes: pl.LazyFrame, tombstones: Tombstones) -> Records:
    """Records without what the tombstones name; see ``Tombstones.without``."""
    return tombstones.without(Records(prompts, completions, votes))


def tombstones(home: Home, pipeline: str) -> pl.DataFrame:
    """Every withdrawal of a pipeline, oldest first: a frame of ``WITHDRAWALS``."""
    return PipelineTables(home, pipeline).scan("pairs", TABLE, WITHDRAWALS).collect().sort("at", "withdrawal_id")


def read_tombstones(home: Home, pipeline: str) -> Tombstones:
    """The same as conditions."""
    return Tombstones.of(tombstones(home, pipeline))


def withdraw(home: Home, pipeline: str, selectors: Sequence[Selector], reason: str) -> tuple[Snapshot, list[Selector]]:
    """Writes a tombstone for each selector that has none.

    Returns:
        The table of tombstones as it is then, and the selectors that are new in it.

    Raises:
        ValueError: no reason is given, or nothing to withdraw.
    """
    if not reason.strip():
        raise ValueError("say why, with --reason: whoever finds the rows gone will ask")
    if not selectors:
        raise ValueError("nothing to withdraw")
    store, key = TableStore(home.tables), (pipeline, "pairs", TABLE)
    with _alone(home, pipeline):
        before = tombstones(home, pipeline)
        known = set(before["withdrawal_id"])
        new = [each for each in dict.fromkeys(selectors) if each.id not in known]
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = [
            {"withdrawal_id": each.id, "kind": each.kind, "value": each.value, "reason": reason.strip(), "at": at}
            for each in new
        ]
        return store.write(key, pl.concat([before, WITHDRAWALS.frame(rows)]), WITHDRAWALS), new


@contextmanager
def _alone(home: Home, pipeline: str) -> Iterator[None]:
    """Two who withdraw at once wait for each other: the table is read, then written."""
    folder = home.work / TABLE
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{pipeline}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pair_ids() -> pl.Expr:
    """Pair ids of votes; costs a hash a row, so only asked where pairs are withdrawn.

    Null for null sides, which Polars asks for when it looks at the ranges of a file's columns.
    """

    def ids(sides: pl.Series) -> pl.Series:
        both = zip(*(sides.struct.field(side) for side in SIDES), strict=True)
        return pl.Series([pair_id(a, b) if a and b else None for a, b in both], dtype=pl.String)

    return pl.struct(SIDES).map_batches(ids, return_dtype=pl.String, is_elementwise=True)
