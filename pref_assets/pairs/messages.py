"""Messages that hold more than text: kept whole inside a turn's content, and given back as chat templates want them.

A turn is a role and a text. A message with anything else (tool calls, a tool's name, image parts) becomes a turn of
role ``<role>+json`` whose content is canonical JSON of the message without its role; the tools on offer become a first
turn of role ``tools``. So every table, id and export stays one of roles and texts, and nothing is lost.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

JSON = "+json"
TOOLS = "tools"


def base_role(role: str) -> str:
    """The speaker: the role without the mark of a JSON content."""
    return role.removesuffix(JSON)


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
    turns = list(messages)
    tools = json.loads(turns[0]["content"]) if turns and turns[0]["role"] == TOOLS else None
    return [decode(turn["role"], turn["content"]) for turn in turns if turn["role"] != TOOLS], tools


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
