"""How LLaMA-Factory writes turns: images as ``<image>`` in the text, calls and tools as JSON of bare functions."""

import json
from collections.abc import Mapping
from typing import Any

from pref_assets.pairs.messages import IMAGE, JSON, canonical, decode, encode
from pref_assets.pairs.readers.base import NoWayBackError
from pref_assets.pairs.readers.record import BadRowError, Turn


def as_turn(role: str, said: str, images: list[str]) -> Turn:
    """A turn; with images, each ``<image>`` of its text is an image part."""
    if not images or IMAGE not in said:
        return role, said
    parts: list[dict[str, str]] = []
    for index, piece in enumerate(said.split(IMAGE)):
        parts += [{"type": "image"}] * (index > 0) + [{"type": "text", "text": piece}] * bool(piece)
    return encode({"role": role, "content": parts})


def as_text(turn: Turn) -> str:
    """What `_turn` read. Raises ``NoWayBackError`` when the turn is more than text and images."""
    message = decode(*turn)
    content = message.get("content")
    if message.keys() != {"role", "content"} or not isinstance(content, (str, list)):
        raise NoWayBackError(f"a turn by {message['role']!r} is more than text and images")
    return content if isinstance(content, str) else "".join(map(_part, content))


def _part(part: Mapping[str, Any]) -> str:
    if part.get("type") == "image":
        return IMAGE
    if part.get("type") != "text":
        raise NoWayBackError(f"the format has no part of type {part.get('type')!r}")
    said: str = part["text"]
    return said


def count_images(turn: Turn) -> int:
    content = decode(*turn).get("content") if turn[0].endswith(JSON) else None
    return sum(part.get("type") == "image" for part in content) if isinstance(content, list) else 0


def as_calls(value: str, path: str) -> Turn:
    """The assistant's turn of a function call, or of a list of them."""
    try:
        calls = json.loads(value)
    except ValueError as error:
        raise BadRowError("wrong_type", f"field `{path}` is no function call in JSON ({error})") from error
    calls = calls if isinstance(calls, list) else [calls]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise BadRowError("wrong_type", f"field `{path}` is no function call: an object with `name` and `arguments`")
    return encode({"role": "assistant", "tool_calls": [{"type": "function", "function": call} for call in calls]})


def as_function(turn: Turn) -> str:
    message = decode(*turn)
    calls = message.get("tool_calls")
    if message.keys() != {"role", "tool_calls"} or not calls:
        raise NoWayBackError("the format holds an answer or function calls, not both in one turn")
    functions = [call.get("function", call) for call in calls]
    return canonical(functions[0] if len(functions) == 1 else functions)


def wrapped(tool: Any) -> Any:
    """A bare function as the chat templates' tool."""
    return {"type": "function", "function": tool} if isinstance(tool, dict) and "name" in tool else tool


def unwrapped(tool: Any) -> Any:
    return tool["function"] if isinstance(tool, dict) and tool.keys() == {"type", "function"} else tool
