"""Pieces that readers of ratings and votes share."""

from collections.abc import Collection, Iterable
from typing import Any, Literal

from pref_assets.pairs.readers.record import (
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Rating,
    Turn,
    Vote,
    check_answer,
    check_sides,
    messages,
    required,
    wrong_type,
)

NO_JUDGEMENT = "no_judgement"
"""Code of a row in which nobody judged, or nobody came to a judgement."""


def words(row: dict[str, Any], name: str, path: str | None = None) -> str:
    """A required text. Raises ``missing_field`` or ``wrong_type``."""
    value = required(row, name, path)
    if not isinstance(value, str):
        raise wrong_type(path or name, value, "a string")
    return value


def sides(row: dict[str, Any], names: tuple[str, str]) -> tuple[list[Turn], list[Turn]]:
    """Two required texts as answers of one turn. Raises ``BadRowError`` when one is missing, empty, or both are the
    same."""
    first, second = ([("assistant", words(row, name))] for name in names)
    check_sides(first, second, names)
    return first, second


def objects(row: dict[str, Any], name: str, path: str | None = None) -> list[dict[str, Any]]:
    """An optional list of objects. Raises ``wrong_type``."""
    value = row.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise wrong_type(path or name, value, "a list of objects")
    return value


def conversation(value: Any, path: str) -> list[Turn]:
    """Turns of a text (one question) or of a list of messages."""
    return [("user", value)] if isinstance(value, str) else messages(value, path)


def rest(row: dict[str, Any], named: Collection[str]) -> dict[str, Any]:
    """The fields that no setting names."""
    return {name: value for name, value in row.items() if name not in named}


def usable(answers: Iterable[tuple[str, Answer]]) -> tuple[dict[int, Answer], list[BadRowError]]:
    """Of answers with their paths, those that say something, by position, and why the others were refused.

    Raises:
        BadRowError: ``empty_side`` when none is left, ``role_order`` when an answer is no answer.
    """
    kept: dict[int, Answer] = {}
    refused: list[BadRowError] = []
    for position, (path, answer) in enumerate(answers):
        try:
            check_answer(answer.turns, path)
        except BadRowError as error:
            if error.code != "empty_side":
                raise
            refused.append(error)
        else:
            kept[position] = answer
    if not kept:
        raise BadRowError("empty_side", "; ".join(map(str, refused)) or "there is no answer")
    return kept, refused


def signed_vote(value: float, limit: float, path: str) -> Vote:
    """The vote of a signed strength: negative for the first answer, positive for the second, zero for a tie.

    Raises:
        BadRowError: ``wrong_type`` when the strength is beyond ``limit`` either way.
    """
    if abs(value) > limit:
        raise BadRowError("wrong_type", f"field `{path}` is {value:g}, expected -{limit:g} to {limit:g}")
    choice: Literal["a", "b", "tie"] = "a" if value < 0 else "b" if value > 0 else "tie"
    return Vote(0, 1, choice, strength=abs(float(value)))


def position_name(position: int) -> str:
    """Name of an annotator of whom only the place in the row is known (from 0); two rows' first annotators are not the
    same person."""
    return f"{UNKNOWN_ANNOTATOR} {position + 1}"


def place_of(annotator: str) -> int | None:
    """The place (from 0) that `position_name` wrote; null for another name."""
    prefix, _, number = annotator.rpartition(" ")
    return int(number) - 1 if prefix == UNKNOWN_ANNOTATOR and number.isdecimal() else None


def rating_of(answer: Answer, dimension: str, annotator: str) -> Rating | None:
    """The answer's rating of a dimension by an annotator, if there is one."""
    return next((r for r in answer.ratings if (r.dimension, r.annotator) == (dimension, annotator)), None)
