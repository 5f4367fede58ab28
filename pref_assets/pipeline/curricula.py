"""Training in stages, written once: an entry becomes one checkpoint a stage, and the references that they need."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pref_assets.settings import Settings
from pref_assets.training import PolicyCheckpoint, ReferenceLogps

Made = dict[str, dict[str, Any]]
"""Entries by block and name."""


class Curriculum(Settings):
    """Trains a policy on one stage of a subset after the other. Stage ``i`` is a checkpoint of its own,
    ``<name>_<i>``, which starts where stage ``i - 1`` ended.

    With ``reference: previous`` the last stage is also what the policy is held close to, as in Curri-DPO
    (arXiv:2403.07230) and MPO (arXiv:2403.19443): a `reference_logps` entry ``<name>_<i>_start`` is made for it, and
    the DPO loss of every stage begins at log 2. With ``reference: first`` the reference stays what it was for stage 1.
    The stages come from a selector: `stages`, `curry`, `mpo_split`, `cluster_quota` and others.
    """

    stages: int = Field(ge=2, le=100)
    """How many stages the subset has; a stage without pairs is an error when it trains."""
    reference: Literal["previous", "first"] = "previous"
    """What a stage after the first is held close to: the stage before it, or the reference of the first stage."""
    policy: PolicyCheckpoint
    """How each stage trains; `base` is the reference of the first stage, `start` where that begins."""

    @model_validator(mode="after")
    def _stages_are_its_own(self) -> Self:
        if self.policy.stage is not None:
            raise ValueError("policy.stage: the curriculum sets the stage of each of its checkpoints; leave it out")
        return self

    def made(self, name: str, references: Mapping[str, ReferenceLogps]) -> Made:
        """The checkpoints and references of this entry."""
        found: Made = {"checkpoints": {}, "reference_logps": {}}
        base = self.policy.base
        for stage in range(1, self.stages + 1):
            changes: dict[str, Any] = {"stage": stage}
            if stage > 1:
                changes |= following(found, name, stage, base, self.reference, references)
            found["checkpoints"][f"{name}_{stage}"] = self.policy.model_copy(update=changes)
        return found


def following(
    found: Made, name: str, place: int, base: str, reference: str, references: Mapping[str, ReferenceLogps]
) -> dict[str, Any]:
    """Start and base of the ``place``-th checkpoint of a series; adds the reference that it needs to ``found``."""
    previous = f"{name}_{place - 1}"
    if reference == "first" or base not in references:
        return {"start": previous}
    own = start_name(name, place)
    found["reference_logps"][own] = references[base].model_copy(update={"checkpoint": previous})
    return {"start": None, "base": own}


def start_name(name: str, place: int) -> str:
    """Name of the reference that is the start of the ``place``-th checkpoint of a series."""
    return f"{name}_{place}_start"


def made_names(blocks: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Names in ``stage`` that the entries of `curricula` and `online` stand for, of a file that may hold errors."""
    found: dict[str, Any] = {}
    for name, count in _series(blocks):
        for place in range(1, count + 1):
            if stage == "checkpoints":
                found[f"{name}_{place}"] = {"type": "policy"}
            elif stage == "samples" and name in (blocks.get("online") or {}):
                found[f"{name}_{place}"] = {}
            elif stage == "reference_logps" and place > 1:
                found[start_name(name, place)] = {}
    return found


def _series(blocks: Mapping[str, Any]) -> list[tuple[Any, int]]:
    """Names of series and their lengths; those that cannot be read are left out."""
    found = []
    for block, field in (("curricula", "stages"), ("online", "rounds")):
        entries = blocks.get(block)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            count = entry.get(field) if isinstance(entry, dict) else None
            if isinstance(count, int) and 1 <= count <= 100:
                found.append((name, count))
    return found
