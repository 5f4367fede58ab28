"""Who speaks when."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import polars as pl

from pref_assets.pairs.audit.base import PARTS, Part, TextRule, named, rows_found
from pref_assets.pairs.messages import TOOLS, base_role

_LETTERS = {TOOLS: "t", "system": "s", "developer": "s", "user": "u", "assistant": "a", "tool": "o", "function": "o"}
_PROMPT = re.compile(r"t?s?(ua(o+a)*)*u(a(o+a)*o+)?")
_ANSWER = re.compile(r"a(o+a)*(ua(o+a)*)*")


class RoleOrder(TextRule):
    """Turns stand in an order that chat templates do not know.

    A prompt is: the tools and one system turn if any, then user and assistant in turn, the user (or a tool's result)
    last; after an assistant turn come any number of tool results and the assistant again. An answer begins and ends
    with the assistant. ``developer`` counts as system, ``function`` as tool.

    Severity error; goes to quarantine by default.
    """

    type: Literal["role_order"] = "role_order"
    severity = "error"
    action = "quarantine"

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        roles = pl.element().struct.field("role")
        orders = texts.select("pair_id", *(pl.col(part).list.eval(roles).list.join("\n").alias(part) for part in PARTS))
        faults = {part: _faults(orders[part], part == "prompt") for part in PARTS}
        wrong = [pl.col(part).is_in(list(faults[part])) for part in PARTS]
        flagged = orders.filter(pl.any_horizontal(wrong).fill_null(False)) if any(faults.values()) else orders.head(0)
        return rows_found([(pair, _detail(faults, order)) for pair, *order in flagged.iter_rows()])


def _faults(orders: pl.Series, is_prompt: bool) -> dict[str, str]:
    """Of the orders that occur, those that are wrong, and why."""
    found = {order: fault(order.split("\n") if order else [], is_prompt) for order in orders.drop_nulls().unique()}
    return {order: why for order, why in found.items() if why}


def _detail(faults: Mapping[Part, Mapping[str, str]], order: list[str | None]) -> str:
    said = dict.fromkeys(
        f"{named(part)} {faults[part][roles]}"
        for part, roles in zip(PARTS, order, strict=True)
        if roles is not None and roles in faults[part]
    )
    return "; ".join(said)


def fault(roles: list[str], is_prompt: bool) -> str | None:
    """What is wrong with the roles of a prompt or an answer; null when nothing is."""
    letters = "".join(_LETTERS.get(base_role(role), "?") for role in roles)
    if (_PROMPT if is_prompt else _ANSWER).fullmatch(letters):
        return None
    if not roles:
        return "has no turns"
    unknown = [role for role, letter in zip(roles, letters, strict=True) if letter == "?"]
    if unknown:
        return f"has a turn of role {unknown[0]!r}, which is none of {sorted(_LETTERS)}"
    for turn, (before, now) in enumerate(pairwise(letters), 2):
        if before == now and now != "o":
            return f"has two turns of role {roles[turn - 1]!r} in a row, turns {turn - 1} and {turn}"
    if not is_prompt and letters[0] != "a":
        return f"begins with a turn of role {roles[0]!r}, expected 'assistant'"
    if letters[-1] not in ("uo" if is_prompt else "a"):
        return f"ends with a turn of role {roles[-1]!r}, expected {'user' if is_prompt else 'assistant'!r}"
    return f"has roles in the order {', '.join(roles[:12])}{', ...' if len(roles) > 12 else ''}"
