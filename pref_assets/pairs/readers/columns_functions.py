"""What expressions of the declarative reader can call, beyond Jinja's own filters."""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pref_assets.pairs.readers.record import BadRowError, wrong_type

MAX_STEPS = 100_000
"""Longest range an expression may make."""


def numbers(*bounds: int) -> range:
    """``range(stop)`` or ``range(start, stop[, step])``: whole numbers, the end left out."""
    found = range(*bounds)
    if len(found) > MAX_STEPS:
        raise ValueError(f"range of {len(found)} numbers; at most {MAX_STEPS} are allowed")
    return found


def numbered(values: Iterable[Any], start: int = 0) -> list[tuple[int, Any]]:
    """``enumerate(values)``: pairs of position (from 0) and value."""
    return list(enumerate(values, start))


def zipped(*lists: Iterable[Any]) -> list[tuple[Any, ...]]:
    """``zip(first, second, …)``: their elements side by side; lists of different lengths are an error."""
    return list(zip(*lists, strict=True))


def pairs(count: int) -> list[tuple[int, int]]:
    """``pairs(n)``: every two of the positions 0 to n-1, the first with the others, then the second, and so on."""
    return list(itertools.combinations(numbers(count), 2))


def walk(root: Any, children: str) -> list[dict[str, Any]]:
    """``walk(root, 'replies')``: every node of a tree whose nodes list their children in that field, parents first.

    Each step is ``{node, path}``; ``path`` is the nodes from the root to this one.
    """
    steps: list[dict[str, Any]] = []
    waiting: list[tuple[Any, list[Any]]] = [(root, [])]
    while waiting:
        node, before = waiting.pop()
        if not isinstance(node, dict):
            raise wrong_type(children, node, "an object at every node of the tree")
        path = [*before, node]
        steps.append({"node": node, "path": path})
        below = node.get(children) or []
        if not isinstance(below, list):
            raise wrong_type(children, below, "a list of nodes")
        waiting.extend((child, path) for child in reversed(below))
    return steps


def turns(
    items: Any, role: str = "role", content: str = "content", roles: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """``turns(items, role='from', content='value', roles=dict(human='user'))``: messages from objects whose fields have
    other names; ``roles`` translates speakers, and leaves those it does not name."""
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, dict) for item in items):
        raise wrong_type("turns", items, "a list of objects")
    found = []
    for index, item in enumerate(items):
        lost = [name for name in (role, content) if item.get(name) is None]
        if lost:
            raise BadRowError("missing_field", f"turn {index + 1} has no `{lost[0]}`")
        found.append({"role": (roles or {}).get(item[role], item[role]), "content": item[content]})
    return found


def transcript(text: Any, speakers: Mapping[str, str]) -> list[dict[str, Any]]:
    """``transcript(text, dict(Human='user', Assistant='assistant'))``: messages from one text in which every turn
    begins with an empty line, the speaker's name and a colon."""
    if not isinstance(text, str):
        raise wrong_type("transcript", text, "text")
    names = "|".join(map(re.escape, speakers))
    before, *rest = re.split(rf"\n\n({names}): ?", text)
    if before.strip() or not rest:
        raise BadRowError("role_order", f"the transcript does not begin with a turn (an empty line, then {names}:)")
    said = zip(rest[::2], rest[1::2], strict=True)
    return [{"role": speakers[speaker], "content": content} for speaker, content in said]


def to_float(value: Any) -> float:
    """``value|float``: the number a text says; anything else is an error, not 0 as in Jinja."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is no number")
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value!r} is no finite number")
    return number


def to_int(value: Any) -> int:
    """``value|int``: the same for a whole number."""
    number = value if isinstance(value, int) and not isinstance(value, bool) else to_float(value)
    if int(number) != number:
        raise ValueError(f"{value!r} is no whole number")
    return int(number)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "dict": dict,
    "range": numbers,
    "enumerate": numbered,
    "zip": zipped,
    "pairs": pairs,
    "walk": walk,
    "turns": turns,
    "transcript": transcript,
}
FILTERS: dict[str, Callable[..., Any]] = {"float": to_float, "int": to_int}
