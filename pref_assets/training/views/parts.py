"""What all views share: sequences as rows of ``PARTS``, edits of one turn, draws that belong to a pair."""

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pref_assets.pairs.messages import base_role, decode, encode, is_plain
from pref_assets.training.data import PARTS, sequence_id

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Part:
    """One further sequence of a pair: a completion after a prompt. An empty prompt: every token counts."""

    pair_id: str
    name: str
    prompt: Messages
    completion: Messages


def parts_frame(parts: Iterable[Part]) -> pl.DataFrame:
    """The sequences as ``PARTS``."""
    rows = [
        (part.pair_id, part.name, sequence_id(part.prompt, part.completion), list(part.prompt), list(part.completion))
        for part in parts
    ]
    return pl.DataFrame(rows, schema=PARTS, orient="row")


def draws(seed: int, *names: str) -> random.Random:
    """Random numbers of their own for whatever the names name (a view, a pair): no neighbour changes them."""
    text = "\0".join((str(seed), *names))
    return random.Random(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())


def edit_last(messages: Messages, role: str, edit: Callable[[str], str | None]) -> list[dict[str, str]] | None:
    """The messages with the text of the last turn of a role changed, its images as they were.

    Returns:
        Null when there is no such turn, it holds more than images and one text, or ``edit`` returns null.
    """
    place = _last(messages, role)
    if place is None or (parts := _images_and_text(messages[place])) is None:
        return None
    text = edit(parts[1])
    if text is None:
        return None
    turns = [dict(turn) for turn in messages]
    said = [{**part, "text": text} if part["type"] == "text" else part for part in parts[0]]
    spoken, content = encode({"role": role, "content": said if parts[0] else text})
    turns[place] = {"role": spoken, "content": content}
    return turns


def last_text(messages: Messages, role: str) -> str | None:
    """What the last turn of a role says; null when there is none, or it holds more than images and one text."""
    place = _last(messages, role)
    parts = None if place is None else _images_and_text(messages[place])
    return None if parts is None else parts[1]


def _last(messages: Messages, role: str) -> int | None:
    """Place of the last turn of a role."""
    return next((i for i in reversed(range(len(messages))) if base_role(messages[i]["role"]) == role), None)


def _images_and_text(turn: Mapping[str, str]) -> tuple[list[dict[str, Any]], str] | None:
    """The parts of a turn (none of a plain one) and its one text; null when it holds anything else than images."""
    if is_plain(turn["role"]):
        return [], turn["content"]
    message = decode(turn["role"], turn["content"])
    parts = message.get("content")
    if set(message) != {"role", "content"} or not isinstance(parts, list):
        return None
    kinds = [part.get("type") if isinstance(part, dict) else None for part in parts]
    if kinds.count("text") != 1 or set(kinds) - {"text", "image"}:
        return None
    return parts, parts[kinds.index("text")]["text"]
