"""Votes of Chatbot Arena: two conversations side by side, and which one the visitor preferred."""

import json
from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.messages import base_role
from pref_assets.pairs.readers.base import NoWayBackError, Source
from pref_assets.pairs.readers.judgements import NO_JUDGEMENT, rest
from pref_assets.pairs.readers.record import (
    OVERALL,
    UNKNOWN_ANNOTATOR,
    Answer,
    BadRowError,
    Record,
    Turn,
    Vote,
    check_prompt,
    check_sides,
    messages,
    required,
    text,
    wrong_type,
)
from pref_assets.pairs.readers.writing import message_list, only_vote, proven, two

_SIDES = ("conversation_a", "conversation_b")
_TEXTS = ("response_a", "response_b")
_MODELS = ("model_a", "model_b")
_WINNER = "winner"
_WINNERS = {"model_a": "a", "model_b": "b", "tie": "tie", "tie (bothbad)": "tie", "both_bad": "tie"}
_PLAIN = {"a": "model_a", "b": "model_b", "tie": "tie"}
_COLUMNS = {"winner_model_a": "model_a", "winner_model_b": "model_b", "winner_tie": "tie", "winner_model_tie": "tie"}


class ArenaSource(Source):
    """Rows ``{model_a, model_b, winner, conversation_a, conversation_b, judge, ...}`` of Chatbot Arena (Chiang et al.
    2024, arXiv:2403.04132), or ``{prompt, response_a, response_b, winner_model_a, winner_model_b, winner_tie}``, whose
    texts are JSON lists with one string a turn.

    ``winner`` is ``model_a``, ``model_b``, ``tie``, or for two bad answers ``tie (bothbad)`` or ``both_bad``. Both
    conversations hold the same questions; the prompt is what they begin with alike, an answer is the rest of its
    conversation, later questions included.
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "question_id": "q1",
            "model_a": "model-one",
            "model_b": "model-two",
            "winner": "tie (bothbad)",
            "judge": "arena_user_1",
            "conversation_a": [
                {"role": "user", "content": "What is the capital of Peru?"},
                {"role": "assistant", "content": "Cusco."},
            ],
            "conversation_b": [
                {"role": "user", "content": "What is the capital of Peru?"},
                {"role": "assistant", "content": "Quito."},
            ],
            "turn": 1,
            "language": "English",
            "tstamp": 1680000000.0,
        },
        {
            "id": 7,
            "model_a": "model-one",
            "model_b": "model-two",
            "prompt": '["Hi", "Count to three."]',
            "response_a": '["Hello.", "1, 2, 3."]',
            "response_b": '["Hey.", "No."]',
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
    )
    keeps: ClassVar[str] = (
        "The common beginning as prompt, the rest of each conversation as an answer with its model, and one vote. A "
        "tie of two bad answers is a tie with the word of the row as rationale, or refused (see `both_bad`). "
        "Language, time, tags and everything else are metadata."
    )

    type: Literal["arena"] = "arena"
    annotator: str = "judge"
    """Field of who voted; the newer releases do not say."""
    both_bad: Literal["tie", "drop"] = "tie"
    """What a vote that both are bad is: a tie, or no judgement, so that the row goes to quarantine."""
    style: Literal["conversations", "lists"] = "conversations"
    """How rows are written back: with ``conversation_a`` and ``winner``, or with ``response_a`` and ``winner_model_a``;
    reading recognises both."""
    tie_column: Literal["winner_tie", "winner_model_tie"] = "winner_tie"
    """Name under which ``lists`` write that nobody won."""
    dimension: str = Field(default=OVERALL, min_length=1)
    """What the votes are about."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers, one vote."""
        lists = _TEXTS[0] in row
        names = _TEXTS if lists else _SIDES
        first, second = (_listed(row, name) if lists else messages(required(row, name), name) for name in names)
        end = _common(first, second, names)
        prompt, answers = first[:end], [Answer(first[end:]), Answer(second[end:])]
        check_prompt(prompt, names[0])
        check_sides(answers[0].turns, answers[1].turns, names)
        for answer, model in zip(answers, _MODELS, strict=True):
            answer.model = text(row, model)
        read = {*names, *_MODELS, _WINNER, self.annotator} | ({"prompt", *_COLUMNS} if lists else set())
        return Record(prompt, answers, [self._vote(row)], metadata=rest(row, read))

    def row(self, record: Record) -> dict[str, Any]:
        vote = only_vote(record)
        row: dict[str, Any] = dict(record.metadata or {})
        for answer, side, written, model in zip(two(record), _SIDES, _TEXTS, _MODELS, strict=True):
            turns = [*record.turns, *answer.turns]
            if self.style == "conversations":
                row[side] = message_list(turns)
            else:
                row["prompt"], row[written] = _lists(turns)
            row[model] = answer.model
        if vote.annotator != UNKNOWN_ANNOTATOR:
            row[self.annotator] = vote.annotator
        if self.style == "conversations":
            row[_WINNER] = vote.rationale or _PLAIN[vote.choice]
        else:
            won = _PLAIN[vote.choice]
            row |= {name: int(_COLUMNS[name] == won) for name in ("winner_model_a", "winner_model_b", self.tie_column)}
        return proven(self, record, row)

    def _vote(self, row: dict[str, Any]) -> Vote:
        winner = row.get(_WINNER)
        if winner is None:
            won = [name for name in _COLUMNS if row.get(name)]
            if len(won) != 1 or any(row[name] not in (0, 1) for name in _COLUMNS if name in row):
                known = ", ".join(_COLUMNS)
                raise BadRowError("missing_field", f"field `{_WINNER}` is missing, and not exactly one of {known} is 1")
            winner = _COLUMNS[won[0]]
        if winner not in _WINNERS:
            raise BadRowError("wrong_type", f"field `{_WINNER}` is {winner!r}, known are {', '.join(_WINNERS)}")
        plain = winner in _PLAIN.values()
        if not plain and self.both_bad == "drop":
            raise BadRowError(NO_JUDGEMENT, f"field `{_WINNER}` says that both are bad")
        annotator = text(row, self.annotator, UNKNOWN_ANNOTATOR) or UNKNOWN_ANNOTATOR
        return Vote(0, 1, _WINNERS[winner], annotator, self.dimension, rationale=None if plain else winner)


def _listed(row: dict[str, Any], name: str) -> list[Turn]:
    """The conversation of two lists of texts, questions and replies in turn; each is a list or JSON of one."""
    asked, said = _texts(row, "prompt"), _texts(row, name)
    if len(asked) != len(said):
        raise BadRowError("wrong_type", f"field `{name}` has {len(said)} replies to {len(asked)} questions of `prompt`")
    return [turn for pair in zip(asked, said, strict=True) for turn in zip(("user", "assistant"), pair, strict=True)]


def _texts(row: dict[str, Any], name: str) -> list[str]:
    value = required(row, name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise BadRowError("wrong_type", f"field `{name}` is text, and not a JSON list ({error})") from error
    if not isinstance(value, list) or not all(item is None or isinstance(item, str) for item in value):
        raise wrong_type(name, value, "a list of strings, or JSON of one")
    texts = [item or "" for item in value]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise BadRowError(
            "not_utf8", f"field `{name}` holds half a character ({error.object[error.start]!r})"
        ) from error
    return texts


def _lists(turns: list[Turn]) -> tuple[str, str]:
    """Questions and replies as JSON lists, the inverse of `_listed`."""
    if [role for role, _ in turns] != ["user", "assistant"] * (len(turns) // 2):
        raise NoWayBackError("the format holds questions and replies in turn")
    questions, replies = ([said for _, said in turns[start::2]] for start in (0, 1))
    return json.dumps(questions, ensure_ascii=False), json.dumps(replies, ensure_ascii=False)


def _common(first: list[Turn], second: list[Turn], names: tuple[str, str]) -> int:
    """Turns of the common prompt: the longest common beginning that ends with a question and leaves both an answer."""
    most = min(len(first), len(second)) - 1
    same = next((i for i in range(most) if first[i] != second[i]), max(most, 0))
    end = next((i for i in range(same, 0, -1) if base_role(first[i - 1][0]) in ("user", "tool")), 0)
    if not end:
        raise BadRowError("prompts_differ", f"fields `{names[0]}` and `{names[1]}` do not begin with the same question")
    return end
