"""What one row says, and the checks every format shares."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pref_assets.pairs.reading import json_type

UNKNOWN_ANNOTATOR = "unknown"
OVERALL = "overall"
_FOLLOWS = {
    None: ("system", "developer", "user"),
    "system": ("user",),
    "developer": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}
_ASKS = ("user", "tool")

Turn = tuple[str, str]
"""Role and content."""


class BadRowError(ValueError):
    """A row, or a part of it, is refused. ``code`` names the rule, the message says what was wrong and where."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Rating:
    dimension: str
    value: float
    annotator: str
    rationale: str | None = None


@dataclass(slots=True)
class Answer:
    turns: Sequence[Turn]
    model: str | None = None
    ratings: Sequence[Rating] = ()


@dataclass(slots=True)
class Vote:
    """A judgement on two answers of the record, by their positions. ``choice`` is ``a``, ``b`` or ``tie``."""

    a: int
    b: int
    choice: str
    annotator: str = UNKNOWN_ANNOTATOR
    dimension: str = OVERALL
    strength: float | None = None
    rationale: str | None = None


@dataclass(slots=True)
class Record:
    """A prompt, its answers and the judgements on them; ``refused`` are the answers that could not be used."""

    turns: Sequence[Turn]
    answers: Sequence[Answer]
    votes: Sequence[Vote] = ()
    images: Sequence[str] = ()
    context: str | None = None
    metadata: dict[str, Any] | None = None
    refused: list[BadRowError] = field(default_factory=list)


def required(row: dict[str, Any], name: str, path: str | None = None) -> Any:
    """The field's value. Raises ``missing_field`` when it is absent or null."""
    value = row.get(name)
    if value is None:
        raise BadRowError("missing_field", f"field `{path or name}` is missing or null")
    return value


def wrong_type(path: str, value: Any, expected: str) -> BadRowError:
    """The error for a field of another type than expected."""
    return BadRowError("wrong_type", f"field `{path}` is a {json_type(value)}, expected {expected}")


def text(row: dict[str, Any], name: str, default: str | None = None, path: str | None = None) -> str | None:
    """An optional text field; a number counts as its text (annotator ids often are numbers)."""
    value = row.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise wrong_type(path or name, value, "a string")


def number(row: dict[str, Any], name: str, path: str | None = None) -> float | None:
    """An optional finite number."""
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type(path or name, value, "a number")
    if not math.isfinite(value):
        raise BadRowError("wrong_type", f"field `{path or name}` is {value}, expected a finite number")
    return float(value)


def strings(row: dict[str, Any], name: str) -> list[str]:
    """An optional list of strings."""
    value = row.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong_type(name, value, "a list of strings")
    return value


def messages(value: Any, path: str) -> list[Turn]:
    """Turns of a list of ``{role, content}``. Raises ``wrong_type``, ``missing_field`` or ``unknown_role``."""
    if not isinstance(value, list):
        raise wrong_type(path, value, "a list of messages")
    if not value:
        raise BadRowError("missing_field", f"field `{path}` is an empty list of messages")
    return [_message(item, f"{path}[{index}]") for index, item in enumerate(value)]


def _message(item: Any, path: str) -> Turn:
    if not isinstance(item, dict):
        raise wrong_type(path, item, "an object with `role` and `content`")
    if item.get("tool_calls"):
        raise BadRowError("wrong_type", f"field `{path}.tool_calls`: tool calls are not supported")
    role, content = required(item, "role", f"{path}.role"), required(item, "content", f"{path}.content")
    if isinstance(content, list):
        content = _joined(content, f"{path}.content")
    for name, value in (("role", role), ("content", content)):
        if not isinstance(value, str):
            raise wrong_type(f"{path}.{name}", value, "a string")
    if role not in _FOLLOWS:
        allowed = ", ".join(name for name in _FOLLOWS if name)
        raise BadRowError("unknown_role", f"field `{path}.role` is {role!r}; known are {allowed}")
    return role, content


def _joined(parts: list[Any], path: str) -> str:
    """Text of a content given as a list of text parts."""
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise BadRowError("wrong_type", f"field `{path}` holds a part that is not text; name images in `images`")
    return "".join(part["text"] for part in parts)


def check_prompt(turns: Sequence[Turn], path: str) -> None:
    """Raises ``role_order`` unless the turns alternate and end with a question, ``empty_prompt`` when it is blank."""
    previous: str | None = None
    for index, (role, _) in enumerate(turns):
        if role not in _FOLLOWS[previous]:
            raise BadRowError("role_order", f"field `{path}`: turn {index + 1} is by {role!r} {_after(previous)}")
        previous = role
    if previous not in _ASKS:
        raise BadRowError("role_order", f"field `{path}` ends with {previous!r}, expected a user's turn")
    if not turns[-1][1].strip():
        raise BadRowError("empty_prompt", f"field `{path}` ends with an empty turn")


def check_answer(turns: Sequence[Turn], path: str) -> None:
    """Raises ``role_order`` unless the turns alternate and begin and end with the assistant, ``empty_side`` when one of
    the assistant's is blank."""
    previous: str | None = "user"
    for index, (role, content) in enumerate(turns):
        if role not in _FOLLOWS[previous]:
            raise BadRowError("role_order", f"field `{path}`: turn {index + 1} is by {role!r} {_after(previous)}")
        if role == "assistant" and not content.strip():
            raise BadRowError("empty_side", f"field `{path}` is empty or only whitespace")
        previous = role
    if previous != "assistant":
        raise BadRowError("role_order", f"field `{path}` ends with {previous!r}, expected the assistant")


def check_sides(chosen: Sequence[Turn], rejected: Sequence[Turn], names: tuple[str, str]) -> None:
    """Checks two answers and that they differ. Raises ``identical_sides`` when they do not."""
    check_answer(chosen, names[0])
    check_answer(rejected, names[1])
    if list(chosen) == list(rejected):
        raise BadRowError("identical_sides", f"fields `{names[0]}` and `{names[1]}` are the same")


def _after(previous: str | None) -> str:
    return f"after {previous!r}" if previous else "at the start"
