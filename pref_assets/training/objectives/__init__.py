"""Policy objectives: from log-probabilities to a loss for each pair. Pure functions of tensors."""

from typing import Annotated

from pydantic import Field

from pref_assets.training.objectives.bco import BCO
from pref_assets.training.objectives.cpo import CPO
from pref_assets.training.objectives.crm import CRM
from pref_assets.training.objectives.dcpo import DCPO
from pref_assets.training.objectives.dove import DOVE
from pref_assets.training.objectives.dpo import DPO
from pref_assets.training.objectives.flip_dpo import FlipDPO
from pref_assets.training.objectives.gpo import GPO
from pref_assets.training.objectives.hierarchical_dpo import HierarchicalDPO
from pref_assets.training.objectives.hypo import HyPO
from pref_assets.training.objectives.kernel import Objective, PairLosses, Pairs, Sequences
from pref_assets.training.objectives.kto import KTO
from pref_assets.training.objectives.mapl import MAPL
from pref_assets.training.objectives.mapo import MaPO
from pref_assets.training.objectives.mm_dpo import MMDPO
from pref_assets.training.objectives.mmpo import MMPO
from pref_assets.training.objectives.orpo import ORPO
from pref_assets.training.objectives.policy_gradient import PolicyGradient
from pref_assets.training.objectives.rankdpo import RankDPO
from pref_assets.training.objectives.rdpo import RDPO
from pref_assets.training.objectives.selm import SELM
from pref_assets.training.objectives.sft import SFT
from pref_assets.training.objectives.smpo import SmPO
from pref_assets.training.objectives.spo import SPO
from pref_assets.training.objectives.step_dpo import StepDPO
from pref_assets.training.objectives.token_dpo import TokenDPO

ObjectiveConfig = Annotated[
    DPO  # One member a line, in the order of the imports.
    | BCO
    | CPO
    | CRM
    | DCPO
    | DOVE
    | FlipDPO
    | GPO
    | HierarchicalDPO
    | HyPO
    | KTO
    | MAPL
    | MaPO
    | MMDPO
    | MMPO
    | ORPO
    | PolicyGradient
    | RankDPO
    | RDPO
    | SELM
    | SFT
    | SmPO
    | SPO
    | StepDPO
    | TokenDPO,
    Field(discriminator="type"),
]
"""What `objective:` of a policy checkpoint may be."""

__all__ = [
    "BCO",
    "CPO",
    "CRM",
    "DCPO",
    "DOVE",
    "DPO",
    "GPO",
    "KTO",
    "MAPL",
    "MMDPO",
    "MMPO",
    "ORPO",
    "RDPO",
    "SELM",
    "SFT",
    "SPO",
    "FlipDPO",
    "HierarchicalDPO",
    "HyPO",
    "MaPO",
    "Objective",
    "ObjectiveConfig",
    "PairLosses",
    "Pairs",
    "PolicyGradient",
    "RankDPO",
    "Sequences",
    "SmPO",
    "StepDPO",
    "TokenDPO",
]
