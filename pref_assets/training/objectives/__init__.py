"""Policy objectives: from log-probabilities to a loss for each pair. Pure functions of tensors."""

from typing import Annotated

from pydantic import Field

from pref_assets.training.objectives.bco import BCO
from pref_assets.training.objectives.cpo import CPO
from pref_assets.training.objectives.dpo import DPO
from pref_assets.training.objectives.kernel import Objective, PairLosses, Pairs, Sequences
from pref_assets.training.objectives.kto import KTO
from pref_assets.training.objectives.orpo import ORPO

ObjectiveConfig = Annotated[
    DPO  # One member a line, in the order of the imports.
    | BCO
    | CPO
    | KTO
    | ORPO,
    Field(discriminator="type"),
]
"""What `objective:` of a policy checkpoint may be."""

__all__ = [
    "BCO",
    "CPO",
    "DPO",
    "KTO",
    "ORPO",
    "Objective",
    "ObjectiveConfig",
    "PairLosses",
    "Pairs",
    "Sequences",
]
