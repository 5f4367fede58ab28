"""What all views share: sequences as rows of ``PARTS``, edits of one turn, draws that belong to a pair."""

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from pref_assets.pairs.messages import base_role, is_plain
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
    """The messages with the text of the last turn of a role changed.

    Returns:
        Null when there is no such turn, it holds more than text, or ``edit`` returns null.
    """
    place = _last(messages, role)
    text = None if place is None else edit(messages[place]["content"])
    if place is None or text is None:
        return None
    turns = [dict(turn) for turn in messages]
    turns[place]["content"] = text
    return turns


def last_text(messages: Messages, role: str) -> str | None:
    """What the last turn of a role says; null when there is none, or it holds more than text."""
    place = _last(messages, role)
    return None if place is None else messages[place]["content"]


def _last(messages: Messages, role: str) -> int | None:
    """Place of the last turn of a role, if it holds text alone."""
    place = next((i for i in reversed(range(len(messages))) if base_role(messages[i]["role"]) == role), None)
    return place if place is not None and is_plain(messages[place]["role"]) else None
