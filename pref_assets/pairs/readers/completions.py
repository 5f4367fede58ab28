"""Several completions of a prompt in one row, with ratings, and votes on two of them where there are any."""

from typing import Any, ClassVar, Literal

from pref_assets.pairs.messages import TOOLS, chat_turns
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
    tools,
    wrong_type,
)
from pref_assets.pairs.readers.writing import message_list, proven, whole

_CHOICES = ("a", "b", "tie")


class CompletionsSource(Source):
    """Rows ``{prompt, completions: [{content, model, ratings}], votes, tools, images, context, metadata}``; a prompt of
    several turns is a list of messages, a completion of several turns has ``messages`` instead of ``content``.

    Ratings are ``{dimension, value, annotator, rationale}`` and stay on the completions; which pairs they make is the
    pairing rule's matter; one without a value is a comment. Votes are ``{a, b, choice, annotator, dimension, strength,
    rationale}`` with positions in ``completions`` from 0. An empty completion is refused alone, with the votes on it;
    the rest of its row is read.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "prompt": "Name a prime above ten.",
            "completions": [
                {"content": "11", "model": "model-one", "ratings": [{"value": 4, "annotator": "ann"}]},
                {
                    "content": "Twelve.",
                    "ratings": [
                        {"value": 1, "annotator": "ann", "dimension": "correctness", "rationale": "Even."},
                        {"value": 2, "annotator": "ben"},
                    ],
                },
                {
                    "messages": [
                        {"role": "assistant", "content": "Above ten?"},
                        {"role": "user", "content": "Yes."},
                        {"role": "assistant", "content": "13"},
                    ]
                },
            ],
            "votes": [
                {"a": 0, "b": 1, "choice": "a", "annotator": "ann", "strength": 2, "rationale": "The other is even."},
                {"a": 1, "b": 2, "choice": "tie", "dimension": "style"},
            ],
            "context": "A quiz for children.",
            "metadata": {"level": 1},
        },
    )
    keeps: ClassVar[str] = (
        "Everything: prompt, tools, images, context, every completion with its model and ratings, votes, metadata. "
        "Fields that are not named here are not read."
    )

    type: Literal["completions"] = "completions"

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, its usable answers with their ratings, and the votes on them."""
        value = required(row, "prompt")
        asked: list[Turn] = [("user", value)] if isinstance(value, str) else messages(value, "prompt")
        prompt = tools(row, "tools") + asked
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

    def row(self, record: Record) -> dict[str, Any]:
        offer, turns = chat_turns(record.turns)[1], [turn for turn in record.turns if turn[0] != TOOLS]
        plain = len(turns) == 1 and turns[0][0] == "user"
        row: dict[str, Any] = {"prompt": turns[0][1] if plain else message_list(turns)}
        row["completions"] = [_written(answer) for answer in record.answers]
        votes = [_fields(vote, {"a": vote.a, "b": vote.b, "choice": vote.choice}) for vote in record.votes]
        rest = {"votes": votes, "tools": offer, "images": list(record.images), "metadata": record.metadata}
        row |= {name: value for name, value in rest.items() if value}
        if record.context is not None:
            row["context"] = record.context
        return proven(self, record, row)


def _written(answer: Answer) -> dict[str, Any]:
    """The answer as the reader has it."""
    plain = len(answer.turns) == 1 and answer.turns[0][0] == "assistant"
    item: dict[str, Any] = {"content": answer.turns[0][1]} if plain else {"messages": message_list(answer.turns)}
    if answer.model is not None:
        item["model"] = answer.model
    if answer.ratings:
        item["ratings"] = [_fields(rating, _value(rating)) for rating in answer.ratings]
    return item


def _value(rating: Rating) -> dict[str, Any]:
    return {} if rating.value is None else {"value": whole(rating.value)}


def _fields(said: Rating | Vote, item: dict[str, Any]) -> dict[str, Any]:
    """Adds who judged what and why, where it is not what the reader takes for granted."""
    if said.annotator != UNKNOWN_ANNOTATOR:
        item["annotator"] = said.annotator
    if said.dimension != OVERALL:
        item["dimension"] = said.dimension
    if isinstance(said, Vote) and said.strength is not None:
        item["strength"] = whole(said.strength)
    if said.rationale is not None:
        item["rationale"] = said.rationale
    return item


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
    rationale = text(item, "rationale", path=f"{path}.rationale")
    if value is None and not rationale:
        raise BadRowError("missing_field", f"fields `{path}.value` and `{path}.rationale` are missing or null")
    dimension = text(item, "dimension", OVERALL, f"{path}.dimension") or OVERALL
    annotator = text(item, "annotator", UNKNOWN_ANNOTATOR, f"{path}.annotator") or UNKNOWN_ANNOTATOR
    return Rating(dimension, value, annotator, rationale)


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
