"""What the ways back share: a record as a row can hold it, and the proof that reading the row gives it back."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pref_assets.pairs.media import MEDIA
from pref_assets.pairs.messages import TOOLS, decode
from pref_assets.pairs.readers.base import NoWayBackError, Source
from pref_assets.pairs.readers.record import Answer, BadRowError, Rating, Record, Turn, Vote

_OTHER = {"a": "b", "b": "a", "tie": "tie"}


def proven(source: Source, record: Record, row: dict[str, Any]) -> dict[str, Any]:
    """The row, once reading it has given the record's conversations, ratings and votes again.

    Raises:
        NoWayBackError: it did not; the message names what the format cannot hold.
    """
    name = type(source).model_fields["type"].default
    try:
        again = source.record(row)
    except BadRowError as error:
        raise NoWayBackError(f"format `{name}` cannot hold this record: {error}") from error
    for what, before, after in (
        ("the prompt", list(record.turns), list(again.turns)),
        ("the images", _images(record, again), list(again.images)),
        ("the context", record.context, again.context),
        ("the answers", [list(a.turns) for a in record.answers], [list(a.turns) for a in again.answers]),
        ("the ratings", _ratings(record), _ratings(again)),
        ("the votes", _votes(record), _votes(again)),
    ):
        if before != after:
            raise NoWayBackError(f"format `{name}` cannot hold {what} of this record")
    return row


def question(record: Record) -> str:
    """The prompt of one user turn. Raises ``NoWayBackError`` for a longer conversation."""
    if len(record.turns) != 1 or record.turns[0][0] != "user":
        raise NoWayBackError(f"the format holds one question, the prompt has turns by {_roles(record.turns)}")
    return record.turns[0][1]


def reply(answer: Answer) -> str:
    """The answer of one turn. Raises ``NoWayBackError`` for a longer one."""
    if len(answer.turns) != 1 or answer.turns[0][0] != "assistant":
        raise NoWayBackError(f"the format holds one reply, the answer has turns by {_roles(answer.turns)}")
    return answer.turns[0][1]


def message_list(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    """Turns as ``{role, content}`` messages. Raises ``NoWayBackError`` when tools are on offer."""
    turns = list(turns)
    if any(role == TOOLS for role, _ in turns):
        raise NoWayBackError("the format holds no tools")
    return [decode(role, content) for role, content in turns]


def two(record: Record) -> tuple[Answer, Answer]:
    """The two answers. Raises ``NoWayBackError`` when there are more or fewer."""
    if len(record.answers) != 2:
        raise NoWayBackError(f"the format compares two answers, the record has {len(record.answers)}")
    return record.answers[0], record.answers[1]


def only_vote(record: Record) -> Vote:
    """The one vote on two answers, said of the first against the second."""
    two(record)
    if len(record.votes) != 1:
        raise NoWayBackError(f"the format holds one judgement, the record has {len(record.votes)}")
    return forward(record.votes[0])


def preferred_first(record: Record) -> Record:
    """The record with its two answers in the order of its one vote: the preferred one first."""
    vote = only_vote(record)
    if vote.choice != "b":
        return replace(record, votes=[vote])
    return replace(record, answers=record.answers[::-1], votes=[replace(vote, choice="a")])


def forward(vote: Vote) -> Vote:
    """The same vote with the earlier answer as side ``a``."""
    if vote.a <= vote.b:
        return vote
    return replace(vote, a=vote.b, b=vote.a, choice=_OTHER[vote.choice])


def whole(value: float) -> int | float:
    """The number as an integer where it is one."""
    return int(value) if value == int(value) else value


def numbered(rating: Rating) -> int | float:
    """The rating's number. Raises ``NoWayBackError`` for a comment without one."""
    if rating.value is None:
        raise NoWayBackError(f"the format has no place for a comment on {rating.dimension!r} without a number")
    return whole(rating.value)


def signed(vote: Vote) -> int | float:
    """The strength of a vote on a scale where negative means that side ``a`` is better."""
    if vote.strength is None:
        raise NoWayBackError("the format says how much better an answer is, the vote does not")
    return whole(-vote.strength if vote.choice == "a" else vote.strength)


def _roles(turns: Sequence[Turn]) -> str:
    return ", ".join(role for role, _ in turns)


def _images(record: Record, again: Record) -> list[str]:
    """The record's images; those that were stored by content are taken for what the row names, which is by path."""
    stored = any(image.startswith(MEDIA) for image in record.images)
    return list(again.images) if stored and again.images else list(record.images)


def _ratings(record: Record) -> list[list[tuple[Any, ...]]]:
    return [
        sorted((r.dimension, r.annotator, _sortable(r.value), r.rationale or "") for r in answer.ratings)
        for answer in record.answers
    ]


def _votes(record: Record) -> list[tuple[Any, ...]]:
    votes = [forward(vote) for vote in record.votes]
    keys = [(v.a, v.b, v.annotator, v.dimension, v.choice, _sortable(v.strength), v.rationale or "") for v in votes]
    return sorted(keys)


def _sortable(value: float | None) -> tuple[bool, float]:
    return value is not None, value or 0.0
