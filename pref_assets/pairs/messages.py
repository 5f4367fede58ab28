"""Messages that hold more than text: kept whole inside a turn's content, and given back as chat templates want them.

A turn is a role and a text. A message with anything else (tool calls, a tool's name, image parts) becomes a turn of
role ``<role>+json`` whose content is canonical JSON of the message without its role; the tools on offer become a first
turn of role ``tools``. So every table, id and export stays one of roles and texts, and nothing is lost.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

JSON = "+json"
TOOLS = "tools"
IMAGE = "<image>"
"""What stands for an image in readable text."""


def base_role(role: str) -> str:
    """The speaker: the role without the mark of a JSON content."""
    return role.removesuffix(JSON)


def is_plain(role: str) -> bool:
    """Whether the turn's content is what was said, not JSON of it."""
    return role != TOOLS and not role.endswith(JSON)


def encode(message: Mapping[str, Any]) -> tuple[str, str]:
    """The turn of a message: ``(role, content)``; fields that are null count as absent."""
    rest = {name: value for name, value in message.items() if name != "role" and value is not None}
    content = rest.get("content")
    if set(rest) == {"content"} and isinstance(content, str):
        return message["role"], content
    return message["role"] + JSON, canonical(rest)


def encode_tools(tools: Any) -> tuple[str, str]:
    """The turn that says which tools the assistant may call."""
    return TOOLS, canonical(tools)


def decode(role: str, content: str) -> dict[str, Any]:
    """The message of a turn, as it was."""
    if role.endswith(JSON):
        return {"role": base_role(role), **json.loads(content)}
    return {"role": role, "content": content}


def chat(messages: Iterable[Mapping[str, str]]) -> tuple[list[dict[str, Any]], Any]:
    """Messages as a chat template takes them, and the tools on offer (null when there are none)."""
    return chat_turns([(message["role"], message["content"]) for message in messages])


def chat_turns(turns: Sequence[tuple[str, str]]) -> tuple[list[dict[str, Any]], Any]:
    """The same, of (role, content) turns."""
    tools = json.loads(turns[0][1]) if turns and turns[0][0] == TOOLS else None
    return [decode(role, content) for role, content in turns if role != TOOLS], tools


def shown(messages: Sequence[Mapping[str, str]], images: Sequence[str]) -> list[dict[str, str]]:
    """The conversation as a model that sees reads it: every image part says where its image is.

    Images fill the image parts of the turns in order. Where turns have none, ``<image>`` in what users say are their
    places if there are as many; else all images come first in the first turn of a user, as MM-RLHF places them.

    Raises:
        ValueError: the turns have image parts, but fewer or more than there are images.
    """
    turns = [dict(turn) for turn in messages]
    if not images:
        return turns
    parts = [_parts_of(turn) for turn in turns]
    places = [part for each in parts for part in each if part.get("type") == "image"]
    if not places:
        parts = _placed(turns, parts, len(images))
        places = [part for each in parts for part in each if part.get("type") == "image"]
    if len(places) != len(images):
        raise ValueError(f"the turns have places for {len(places)} images, and there are {len(images)}")
    for part, uri in zip(places, images, strict=True):
        part["image"] = uri
    found = []
    for turn, each in zip(turns, parts, strict=True):
        if any(part.get("type") == "image" for part in each):
            role, content = encode({**decode(turn["role"], turn["content"]), "content": each})
            turn = {"role": role, "content": content}
        found.append(turn)
    return found


def shown_images(messages: Iterable[Mapping[str, str]]) -> list[str]:
    """Where the images are that `shown` put into a conversation, in order."""
    parts = (part for turn in messages for part in _parts_of(turn))
    return [part["image"] for part in parts if part.get("type") == "image" and "image" in part]


def _parts_of(turn: Mapping[str, str]) -> list[dict[str, Any]]:
    """Parts of a turn's content, copied; of a plain turn its text. None of the tools' turn."""
    if turn["role"] == TOOLS:
        return []
    content = decode(turn["role"], turn["content"]).get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [dict(part) for part in content or () if isinstance(part, dict)]


def _placed(
    turns: Sequence[Mapping[str, str]], parts: list[list[dict[str, Any]]], n: int
) -> list[list[dict[str, Any]]]:
    """Parts with places for ``n`` images."""
    users = [i for i, turn in enumerate(turns) if base_role(turn["role"]) == "user"]
    said = "".join(part.get("text", "") for i in users for part in parts[i])
    if said.count(IMAGE) == n:
        for i in users:
            parts[i] = [each for part in parts[i] for each in _cut(part)]
    elif users:
        parts[users[0]] = [{"type": "image"} for _ in range(n)] + parts[users[0]]
    return parts


def _cut(part: dict[str, Any]) -> list[dict[str, Any]]:
    """A text part as the texts around its ``<image>`` marks and a place for each mark."""
    if part.get("type") != "text":
        return [part]
    found: list[dict[str, Any]] = []
    for number, text in enumerate(part["text"].split(IMAGE)):
        if number:
            found.append({"type": "image"})
        if text.strip():
            found.append({"type": "text", "text": text.strip("\n")})
    return found


def function_names(messages: Iterable[Mapping[str, Any]], tools: Any) -> list[str]:
    """Names of the functions on offer and of those that messages call, as `chat` gives both."""
    named = [*(tools or ()), *(call for message in messages for call in message.get("tool_calls") or ())]
    functions = [item.get("function", item) for item in named if isinstance(item, dict)]
    return [function["name"] for function in functions if isinstance(function, dict) and "name" in function]


def readable(role: str, content: str) -> str:
    """What a turn says, for people, embedders and word counts: a plain turn's content as it is; otherwise its thoughts,
    text with ``<image>`` for each image, and calls as ``name(arguments)``, one a line."""
    if is_plain(role):
        return content
    value = json.loads(content)
    if role == TOOLS:
        return "\n".join(_offer(tool) for tool in value) if isinstance(value, list) else canonical(value)
    said = value.get("content") or ""
    parts = [said] if isinstance(said, str) else ["".join(map(_part, said))]
    thoughts = [value[name] for name in ("reasoning_content", "thinking") if isinstance(value.get(name), str)]
    calls = [_call(call) for call in value.get("tool_calls") or ()]
    return "\n".join(line for line in (*thoughts, *parts, *calls) if line)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _part(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    return part["text"] if isinstance(part.get("text"), str) else f"<{part.get('type')}>"


def _call(call: dict[str, Any]) -> str:
    function = call.get("function") or call
    arguments = function.get("arguments")
    return f"{function.get('name')}({arguments if isinstance(arguments, str) else canonical(arguments or {})})"


def _offer(tool: Any) -> str:
    function = tool.get("function", tool) if isinstance(tool, dict) else tool
    if not isinstance(function, dict) or "name" not in function:
        return canonical(tool)
    return ": ".join(str(function[name]) for name in ("name", "description") if function.get(name))
