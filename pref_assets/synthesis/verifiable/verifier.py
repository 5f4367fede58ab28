"""The exact judge: which constraints an answer meets."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from pref_assets.synthesis.verifiable.constraints import (
    Bullets,
    CommaList,
    Digits,
    EndMark,
    Exclude,
    Include,
    JsonObject,
    LetterCase,
    MaxWords,
    MinWords,
    NoCommas,
    Numbered,
    OneLine,
    Quoted,
    Sentences,
    Start,
)
from pref_assets.synthesis.verifiable.questions import Arithmetic, Choice, Count, Largest, Repeat, Sort

AnyConstraint = Annotated[
    MaxWords
    | MinWords
    | Sentences
    | Include
    | Exclude
    | NoCommas
    | LetterCase
    | Start
    | EndMark
    | OneLine
    | Bullets
    | Numbered
    | CommaList
    | JsonObject
    | Quoted
    | Digits
    | Arithmetic
    | Count
    | Largest
    | Sort
    | Choice
    | Repeat,
    Field(discriminator="family"),
]
_ADAPTER: TypeAdapter[AnyConstraint] = TypeAdapter(AnyConstraint)


def constraint(value: Mapping[str, Any]) -> AnyConstraint:
    """A constraint from its JSON form, ``{"family": ..., <parameters>}``. Raises ``ValueError`` on anything else."""
    return _ADAPTER.validate_python(dict(value))


def verify(value: Mapping[str, Any], text: str) -> bool:
    """Whether ``text`` meets the constraint. An answer without any text meets none."""
    answer = text.strip()
    return bool(answer) and constraint(value).holds(answer)


def share_met(constraints: Sequence[Mapping[str, Any]], text: str) -> float:
    """Share of the constraints met, in [0, 1]. Raises ``ValueError`` when there are none."""
    if not constraints:
        raise ValueError("a prompt without constraints has no share of constraints met")
    return sum(verify(value, text) for value in constraints) / len(constraints)


def constraints_of(metadata: str | None) -> list[dict[str, Any]]:
    """Constraints in a prompt's metadata JSON; empty when it names none."""
    value = json.loads(metadata) if metadata else {}
    return value.get("constraints", []) if isinstance(value, dict) else []
