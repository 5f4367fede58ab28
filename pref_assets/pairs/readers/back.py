"""From the tables of records back to records, which every format with a way back writes as rows again."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from pref_assets.pairs.readers.record import Answer, Rating, Record, Turn, Vote

_KEY = ("source", "batch", "uri", "row", "prompt_id")
_ANSWER = ("position", "completion_id", "messages", "model", "ratings")
_VOTE = ("completion_a", "completion_b", "choice", "annotator", "dimension", "strength", "rationale")
_OTHER = {"a": "b", "b": "a", "tie": "tie"}


def records(prompts: pl.DataFrame, completions: pl.DataFrame, votes: pl.DataFrame) -> Iterator[tuple[str, int, Record]]:
    """Each record with the file and row it was read from, by source, batch, file and row.

    Answers are in the order of their row; of a vote, side ``a`` is the answer that comes first in it, and votes are
    ordered by their answers. Records of one row that share a prompt come back as one.

    Args:
        prompts, completions, votes: ``RECORD_PROMPTS``, ``RECORD_COMPLETIONS`` and ``RECORD_VOTES``, in any order.

    Raises:
        ValueError: a vote compares answers to two prompts, which no record holds.
    """
    across = votes.filter(pl.col("prompt_id").is_null())
    if across.height:
        uri, row = across.select("uri", "row").row(0)
        raise ValueError(f"{uri}, row {row}: a vote compares answers to two prompts ({across.height} such votes)")
    said = votes.group_by(_KEY, maintain_order=True).agg(pl.struct(_VOTE).alias("votes"))
    answers = completions.sort("position").group_by(_KEY, maintain_order=True).agg(pl.struct(_ANSWER).alias("answers"))
    frame = prompts.unique(_KEY, keep="first", maintain_order=True)
    frame = frame.join(answers, on=_KEY, how="left").join(said, on=_KEY, how="left").sort(_KEY)
    for row in frame.iter_rows(named=True):
        yield row["uri"], row["row"], _record(row)


def turns_of(messages: Iterable[Mapping[str, str]]) -> list[Turn]:
    """Turns of a ``MESSAGES`` value."""
    return [(message["role"], message["content"]) for message in messages]


def _record(row: dict[str, Any]) -> Record:
    answers = row["answers"] or []
    places: dict[str, int] = {}
    for place, answer in enumerate(answers):
        places.setdefault(answer["completion_id"], place)
    votes = [_vote(vote, places) for vote in row["votes"] or []]
    return Record(
        turns_of(row["messages"]),
        [
            Answer(turns_of(answer["messages"]), answer["model"], [Rating(**rating) for rating in answer["ratings"]])
            for answer in answers
        ],
        sorted(votes, key=lambda vote: (vote.a, vote.b)),
        row["images"],
        row["context"],
        json.loads(row["metadata"]) if row["metadata"] else None,
    )


def _vote(said: dict[str, Any], places: dict[str, int]) -> Vote:
    a, b, choice = places[said["completion_a"]], places[said["completion_b"]], said["choice"]
    if a > b:
        a, b, choice = b, a, _OTHER[choice]
    return Vote(a, b, choice, said["annotator"], said["dimension"], said["strength"], said["rationale"])
