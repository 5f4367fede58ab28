"""Anthropic's HH-RLHF format: two whole transcripts that share all but the last reply."""

import re
from typing import Any, ClassVar, Literal

from pydantic import Field

from pref_assets.pairs.readers.base import NoWayBackError, Source
from pref_assets.pairs.readers.pairwise import better_first, with_metadata
from pref_assets.pairs.readers.record import (
    OVERALL,
    Answer,
    BadRowError,
    Record,
    Turn,
    Vote,
    check_prompt,
    check_sides,
    required,
    wrong_type,
)
from pref_assets.pairs.readers.writing import proven

_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_SPEAKERS = {role: speaker for speaker, role in _ROLES.items()}
_SIDES = ("chosen", "rejected")


class HhRlhfSource(Source):
    """Rows with ``chosen`` and ``rejected``: text with a turn after each ``\\n\\nHuman:`` and ``\\n\\nAssistant:``
    (Bai et al. 2022, arXiv:2204.05862).

    The prompt is every turn but the last; a row whose transcripts part earlier compares answers to different prompts
    and goes to quarantine. So does one with two turns of the same speaker in a row (a model that wrote a speaker's
    name itself).
    """

    example: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello!",
            "rejected": "\n\nHuman: Hi\n\nAssistant: What?",
        },
    )
    keeps: ClassVar[str] = "The turns, without the space after a speaker's colon; other columns as metadata."

    type: Literal["hh_rlhf"] = "hh_rlhf"
    dimension: str = Field(default=OVERALL, min_length=1)
    """What these judgements are about, e.g. ``harmless``."""

    def record(self, row: dict[str, Any]) -> Record:
        """One prompt, two answers, one vote for the first."""
        chosen, rejected = (_turns(row, name) for name in _SIDES)
        if chosen[:-1] != rejected[:-1]:
            turn = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), len(rejected))
            raise BadRowError(
                "prompts_differ",
                f"fields `chosen` ({len(chosen)} turns) and `rejected` ({len(rejected)} turns) differ from turn "
                f"{turn + 1} on, before the last reply",
            )
        check_prompt(chosen[:-1], "chosen")
        check_sides(chosen[-1:], rejected[-1:], _SIDES)
        return Record(
            turns=chosen[:-1],
            answers=[Answer(chosen[-1:]), Answer(rejected[-1:])],
            votes=[Vote(0, 1, "a", dimension=self.dimension)],
            metadata={name: value for name, value in row.items() if name not in _SIDES},
        )

    def row(self, record: Record) -> dict[str, Any]:
        """Both transcripts, and the metadata."""
        record = better_first(record)
        sides = (_transcript([*record.turns, *answer.turns]) for answer in record.answers)
        return proven(self, record, with_metadata(dict(zip(_SIDES, sides, strict=True)), record))


def _transcript(turns: list[Turn]) -> str:
    others = [role for role, _ in turns if role not in _SPEAKERS]
    if others:
        raise NoWayBackError(f"format `hh_rlhf` holds what people and assistants say, not a turn by {others[0]!r}")
    return "".join(f"\n\n{_SPEAKERS[role]}: {content}" for role, content in turns)


def _turns(row: dict[str, Any], name: str) -> list[Turn]:
    value = required(row, name)
    if not isinstance(value, str):
        raise wrong_type(name, value, "a transcript")
    before, *rest = _TURN.split(value)
    if before.strip() or not rest:
        raise BadRowError("role_order", f"field `{name}` does not begin with a turn (`\\n\\nHuman: `)")
    if len(rest) < 4:
        raise BadRowError("role_order", f"field `{name}` has one turn, expected a question and a reply")
    return [(_ROLES[speaker], said) for speaker, said in zip(rest[::2], rest[1::2], strict=True)]
