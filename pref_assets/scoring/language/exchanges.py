"""A conversation as exchanges: what the user asked, and what the assistant said to it."""

from collections.abc import Iterable, Mapping

from pref_assets.pairs.messages import TOOLS, base_role, readable

Exchange = tuple[str, str]
"""An instruction and the response to it."""


def exchanges(messages: Iterable[Mapping[str, str]]) -> list[Exchange]:
    """The (instruction, response) exchanges of a conversation, in order.

    Turns of one side that follow each other are one, with a blank line between. System turns, tools on offer and tool
    results are nobody's words and left out. A response before any instruction answers the empty one.
    """
    found: list[tuple[list[str], list[str]]] = []
    for turn in messages:
        role = base_role(turn["role"])
        if turn["role"] == TOOLS or role not in ("user", "assistant"):
            continue
        if not found or (role == "user" and found[-1][1]):
            found.append(([], []))
        found[-1][role == "assistant"].append(readable(turn["role"], turn["content"]))
    return [("\n\n".join(instruction), "\n\n".join(response)) for instruction, response in found]
