"""Conversations written as one text, with a mark before each turn; as HelpSteer2 and HH-RLHF write them."""

import re
from collections.abc import Iterable

from pref_assets.pairs.readers.base import NoWayBackError
from pref_assets.pairs.readers.record import BadRowError, Turn

_TAG = re.compile(r"\n?<extra_id_1>(User|Assistant)\n?")
_MARK = re.compile(r"\n\n(Human|Assistant): ?")
_ROLES = {"User": "user", "Human": "user", "Assistant": "assistant"}
_TAGS = {"user": "User", "assistant": "Assistant"}
_MARKS = {"user": "Human", "assistant": "Assistant"}


def tagged_turns(text: str) -> list[Turn]:
    """Turns of a text whose first is the user's, each next one after a line ``<extra_id_1>User`` or
    ``<extra_id_1>Assistant``."""
    first, *rest = _TAG.split(text)
    return [("user", first), *((_ROLES[name], said) for name, said in zip(rest[::2], rest[1::2], strict=True))]


def tagged_text(turns: Iterable[Turn]) -> str:
    """The inverse of `tagged_turns`. Raises ``NoWayBackError`` for a turn that the marks cannot hold."""
    first, *rest = turns
    return first[1] + "".join(f"\n<extra_id_1>{_name(role, _TAGS)}\n{said}" for role, said in rest)


def is_transcript(text: str) -> bool:
    """Whether a text begins with ``Human:`` or ``Assistant:`` after a blank line."""
    return _MARK.match(text) is not None


def transcript_turns(text: str, path: str) -> list[Turn]:
    """Turns of a question as a transcript, with ``\\n\\nHuman:`` and ``\\n\\nAssistant:`` before each; an empty last
    turn of the assistant, where the answer goes, is left out.

    Raises:
        BadRowError: ``role_order`` when the text does not begin with a turn.
    """
    before, *rest = _MARK.split(text)
    if before or not rest:
        raise BadRowError("role_order", f"field `{path}` does not begin with a turn (`\\n\\nHuman: `)")
    turns = [(_ROLES[name], said) for name, said in zip(rest[::2], rest[1::2], strict=True)]
    return turns[:-1] if len(turns) > 1 and turns[-1][0] == "assistant" and not turns[-1][1].strip() else turns


def transcript(turns: Iterable[Turn]) -> str:
    """The inverse of `transcript_turns`, with an empty turn of the assistant at the end."""
    said = "".join(f"\n\n{_name(role, _MARKS)}: {content}" for role, content in turns)
    return said + "\n\nAssistant: "


def _name(role: str, names: dict[str, str]) -> str:
    if role not in names:
        raise NoWayBackError(f"the format holds turns of {' and '.join(names)}, the conversation has one by {role!r}")
    return names[role]
