"""Several completions of a prompt in one row, with ratings, and votes on two of them where there are any."""

from typing import Any, Literal

from pref_assets.pairs.readers.base import Source
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Rating,
    Record,
    Turn,
    Vote,
    check_answer,
    check_prompt,
    messages,
    number,
    required,
    strings,
    text,
    wrong_type,
)

_CHOICES = ("a", "b", "tie")


class CompletionsSource(Source):
    """Rows ``{prompt, completions: [{content | messages, model, ratings}], votes, images, context, metadata}``.

    Ratings are ``{dimension, value, annotator, rationale}`` and stay on the completions; which pairs they make is the
    pairing rule's matter. Votes are ``{a, b, choice, annotator, dimension, strength, rationale}`` with positions in
    ``completions`` from 0. An empty completion is refused alone, with the votes on it; the rest of its row is read.
    """

    type: Literal["completions"] = "completions"

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, its usable answers with their ratings, and the votes on them."""
        value = required(row, "prompt")
        prompt: list[Turn] = [("user", value)] if isinstance(value, str) else messages(value, "prompt")
        check_prompt(prompt, "prompt")
        items = _objects(row, "completions")
        if not items:
            raise BadRowError("missing_field", "field `completions` is an empty list")
        answers: list[Answer] = []
        kept: dict[int, int] = {}
        refused: list[BadRowError] = []
        for index, item in enumerate(items):
            try:
                answer = _answer(item, f"completions[{index}]")
            except BadRowError as error:
                if error.code != "empty_side":
                    raise
                refused.append(error)
                continue
            kept[index] = len(answers)
            answers.append(answer)
        if not answers:
            raise BadRowError("empty_side", "; ".join(map(str, refused)))
        votes = [_vote(item, f"votes[{i}]", len(items)) for i, item in enumerate(_objects(row, "votes"))]
        return Record(
            turns=prompt,
            answers=answers,
            votes=_moved(votes, kept, answers),
            images=strings(row, "images"),
            context=text(row, "context"),
            metadata=_metadata(row),
            refused=refused,
        )


def _objects(row: dict[str, Any], name: str, path: str | None = None) -> list[dict[str, Any]]:
    value = required(row, name, path) if name == "completions" else (row.get(name) or [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise wrong_type(path or name, value, "a list of objects")
    return value


def _answer(item: dict[str, Any], path: str) -> Answer:
    if item.get("messages") is not None:
        turns = messages(item["messages"], f"{path}.messages")
    else:
        content = required(item, "content", f"{path}.content")
        if not isinstance(content, str):
            raise wrong_type(f"{path}.content", content, "a string")
        turns = [("assistant", content)]
    check_answer(turns, path)
    ratings = _objects(item, "ratings", f"{path}.ratings")
    return Answer(
        turns,
        text(item, "model", path=f"{path}.model"),
        [_rating(rating, f"{path}.ratings[{index}]") for index, rating in enumerate(ratings)],
    )


def _rating(item: dict[str, Any], path: str) -> Rating:
    value = number(item, "value", f"{path}.value")
    if value is None:
        raise BadRowError("missing_field", f"field `{path}.value` is missing or null")
    dimension = text(item, "dimension", OVERALL, f"{path}.dimension") or OVERALL
    annotator = text(item, "annotator", UNKNOWN_ANNOTATOR, f"{path}.annotator") or UNKNOWN_ANNOTATOR
    return Rating(dimension, value, annotator, text(item, "rationale", path=f"{path}.rationale"))


def _vote(item: dict[str, Any], path: str, count: int) -> Vote:
    choice = required(item, "choice", f"{path}.choice")
    if choice not in _CHOICES:
        raise BadRowError("wrong_type", f"field `{path}.choice` is {choice!r}, expected `a`, `b` or `tie`")
    return Vote(
        a=_position(item, "a", f"{path}.a", count),
        b=_position(item, "b", f"{path}.b", count),
        choice=choice,
        annotator=text(item, "annotator", UNKNOWN_ANNOTATOR, f"{path}.annotator") or UNKNOWN_ANNOTATOR,
        dimension=text(item, "dimension", OVERALL, f"{path}.dimension") or OVERALL,
        strength=number(item, "strength", f"{path}.strength"),
        rationale=text(item, "rationale", path=f"{path}.rationale"),
    )


def _position(item: dict[str, Any], name: str, path: str, count: int) -> int:
    value = required(item, name, path)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise BadRowError("wrong_type", f"field `{path}` is {value!r}, expected a position from 0 to {count - 1}")
    return value


def _moved(votes: list[Vote], kept: dict[int, int], answers: list[Answer]) -> list[Vote]:
    """Votes on kept answers, by their new positions. Raises ``identical_sides`` for a vote on the same text twice."""
    moved = []
    for index, vote in enumerate(votes):
        if vote.a not in kept or vote.b not in kept:
            continue
        vote.a, vote.b = kept[vote.a], kept[vote.b]
        if list(answers[vote.a].turns) == list(answers[vote.b].turns):
            raise BadRowError("identical_sides", f"field `votes[{index}]` compares a completion with itself")
        moved.append(vote)
    return moved


def _metadata(row: dict[str, Any]) -> dict[str, Any] | None:
    value = row.get("metadata")
    if value is not None and not isinstance(value, dict):
        raise wrong_type("metadata", value, "an object")
    return value
