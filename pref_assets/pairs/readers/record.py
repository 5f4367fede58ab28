"""What one row says, and the checks every format shares."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pref_assets.pairs.media import MEDIA
from pref_assets.pairs.messages import TOOLS, base_role, encode, encode_tools, is_plain, readable
from pref_assets.pairs.readers.fields import BadRowError, number, required, strings, text, wrong_type

__all__ = [
    "OVERALL",
    "UNKNOWN_ANNOTATOR",
    "Answer",
    "BadRowError",
    "Rating",
    "Record",
    "Turn",
    "Vote",
    "check_answer",
    "check_prompt",
    "check_sides",
    "image",
    "is_blank",
    "messages",
    "number",
    "required",
    "strings",
    "text",
    "tools",
    "wrong_type",
]

UNKNOWN_ANNOTATOR = "unknown"
OVERALL = "overall"
_FOLLOWS = {
    None: (TOOLS, "system", "developer", "user"),
    TOOLS: ("system", "developer", "user"),
    "system": ("user",),
    "developer": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}
_ASKS = ("user", "tool")
_SPEAKERS = frozenset(role for role in _FOLLOWS if role and role != TOOLS)

Turn = tuple[str, str]
"""Role and content, as `pairs.messages` writes them."""


@dataclass(slots=True)
class Rating:
    """What an annotator says of one answer: a number, with why, or without a number a comment."""

    dimension: str
    value: float | None
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


def messages(value: Any, path: str, images: list[str | None] | None = None) -> list[Turn]:
    """Turns of a list of messages: ``role``, ``content`` and whatever else a chat template may read.

    A content of text parts alone is their text. Other parts, tool calls and further fields are kept (`pairs.messages`).
    ``images`` collects, for each image part, where its image is, or null where the part only says that there is one;
    without the list, a part that brings its own image is refused.

    Raises:
        BadRowError: ``wrong_type``, ``missing_field`` or ``unknown_role``.
    """
    if not isinstance(value, list):
        raise wrong_type(path, value, "a list of messages")
    if not value:
        raise BadRowError("missing_field", f"field `{path}` is an empty list of messages")
    turns = []
    for index, item in enumerate(value):
        # The plain message, which is nearly every one, is not worth a call.
        if type(item) is dict and len(item) == 2:
            role, content = item.get("role"), item.get("content")
            if type(content) is str and type(role) is str and role in _SPEAKERS:
                turns.append((role, content))
                continue
        turns.append(_message(item, f"{path}[{index}]", images))
    return turns


def tools(row: dict[str, Any], name: str) -> list[Turn]:
    """The turn of the tools on offer, as a list of none or one. They may be a list or JSON of one.

    Raises:
        BadRowError: ``wrong_type``.
    """
    value = row.get(name)
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError as error:
            raise BadRowError("wrong_type", f"field `{name}` is text, and not JSON ({error})") from error
    if not value:
        return []
    if not isinstance(value, list) or not all(isinstance(tool, (dict, str)) for tool in value):
        raise wrong_type(name, value, "a list of tools, or JSON of one")
    return [encode_tools([_parsed(tool, f"{name}[{index}]") for index, tool in enumerate(value)])]


def _message(item: Any, path: str, images: list[str | None] | None) -> Turn:
    if not isinstance(item, dict):
        raise wrong_type(path, item, "an object with `role` and `content`")
    role, content = required(item, "role", f"{path}.role"), item.get("content")
    if not isinstance(role, str):
        raise wrong_type(f"{path}.role", role, "a string")
    if role not in _SPEAKERS:
        raise BadRowError("unknown_role", f"field `{path}.role` is {role!r}; known are {', '.join(sorted(_SPEAKERS))}")
    calls = item.get("tool_calls")
    message = {**item, "tool_calls": _calls(calls, f"{path}.tool_calls") if calls else None}
    if content is None and not calls:
        raise BadRowError("missing_field", f"field `{path}.content` is missing or null")
    if isinstance(content, list):
        message["content"] = _parts(content, f"{path}.content", images)
    elif content is not None and not isinstance(content, str):
        raise wrong_type(f"{path}.content", content, "a string or a list of parts")
    return encode(message)


def _calls(value: Any, path: str) -> list[dict[str, Any]]:
    """Tool calls without their null fields; what is inside the arguments stays as it is."""
    if not isinstance(value, list):
        raise wrong_type(path, value, "a list of calls")
    calls = []
    for index, call in enumerate(value):
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRowError("wrong_type", f"field `{path}[{index}]` is no call: it names no function")
        call = _without_nulls(call)
        calls.append({**call, "function": _without_nulls(function)} if "function" in call else call)
    return calls


def _parts(parts: list[Any], path: str, images: list[str | None] | None) -> str | list[dict[str, Any]]:
    """Text when all parts are text, else the parts without null fields, image parts without the image itself, text
    parts that follow each other as one."""
    kept: list[dict[str, Any]] = []
    for index, part in enumerate(parts):
        where = f"{path}[{index}]"
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise BadRowError("wrong_type", f"field `{where}` is no part: an object with a `type`")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise BadRowError("wrong_type", f"field `{where}.text` is not text")
        part = _image_part(part, where, images) if part["type"].startswith("image") else _without_nulls(part)
        if kept and _is_text(part) and _is_text(kept[-1]):
            part = {"type": "text", "text": kept.pop()["text"] + part["text"]}
        kept.append(part)
    said: str | None = kept[0]["text"] if len(kept) == 1 and _is_text(kept[0]) else None
    return kept if said is None else said


def _is_text(part: dict[str, Any]) -> bool:
    return part.keys() == {"type", "text"} and part["type"] == "text"


def _image_part(part: dict[str, Any], path: str, images: list[str | None] | None) -> dict[str, Any]:
    brought = next((name for name in _IMAGE_KEYS if part.get(name) is not None), None)
    if brought and images is None:
        raise BadRowError("wrong_type", f"field `{path}` brings an image where only text is read")
    if images is not None:
        value = part[brought] if brought else None
        if brought == "image_url" and isinstance(value, dict):
            value = value.get("url")
        images.append(image(value, f"{path}.{brought}") if brought else None)
    return {"type": "image"}


_IMAGE_KEYS = ("image", "image_url", "url", "path")


def image(value: Any, path: str) -> str:
    """Where an image is: text, or a ``datasets`` image ``{bytes, path}`` whose bytes were stored.

    Raises:
        BadRowError: ``wrong_type``.
    """
    if isinstance(value, dict):
        stored, named = value.get("bytes"), value.get("path")
        value = stored if isinstance(stored, str) and stored.startswith(MEDIA) else named
    if not isinstance(value, str) or not value:
        raise BadRowError("wrong_type", f"field `{path}` names no image")
    return value


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in value.items() if item is not None}


def _parsed(tool: Any, path: str) -> Any:
    if isinstance(tool, dict):
        return tool
    try:
        return json.loads(tool)
    except ValueError as error:
        raise BadRowError("wrong_type", f"field `{path}` is text, and not JSON ({error})") from error


def check_prompt(turns: Sequence[Turn], path: str) -> None:
    """Raises ``role_order`` unless the turns alternate and end with a question, ``empty_prompt`` when it is blank."""
    previous: str | None = None
    for index, (role, _) in enumerate(turns):
        previous = _next(role, previous, index, path)
    if previous not in _ASKS:
        raise BadRowError("role_order", f"field `{path}` ends with {previous!r}, expected a user's turn")
    if is_blank(*turns[-1]):
        raise BadRowError("empty_prompt", f"field `{path}` ends with an empty turn")


def check_answer(turns: Sequence[Turn], path: str) -> None:
    """Raises ``role_order`` unless the turns alternate and begin and end with the assistant, ``empty_side`` when one of
    the assistant's is blank."""
    previous: str | None = "user"
    for index, (role, content) in enumerate(turns):
        previous = _next(role, previous, index, path)
        if previous == "assistant" and is_blank(role, content):
            raise BadRowError("empty_side", f"field `{path}` is empty or only whitespace")
    if previous != "assistant":
        raise BadRowError("role_order", f"field `{path}` ends with {previous!r}, expected the assistant")


def check_sides(chosen: Sequence[Turn], rejected: Sequence[Turn], names: tuple[str, str]) -> None:
    """Checks two answers and that they differ. Raises ``identical_sides`` when they do not."""
    check_answer(chosen, names[0])
    check_answer(rejected, names[1])
    if list(chosen) == list(rejected):
        raise BadRowError("identical_sides", f"fields `{names[0]}` and `{names[1]}` are the same")


def is_blank(role: str, content: str) -> bool:
    """Whether a turn says nothing: no text but white space, no image, no call."""
    return not (content if is_plain(role) else readable(role, content)).strip()


def _next(role: str, previous: str | None, index: int, path: str) -> str:
    """The speaker of turn ``index``. Raises ``role_order`` when it cannot be his turn."""
    if role in _FOLLOWS[previous]:
        return role
    speaker = base_role(role)
    if speaker not in _FOLLOWS[previous]:
        raise BadRowError("role_order", f"field `{path}`: turn {index + 1} is by {speaker!r} {_after(previous)}")
    return speaker


def _after(previous: str | None) -> str:
    return f"after {previous!r}" if previous else "at the start"
