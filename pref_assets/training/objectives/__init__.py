"""Policy objectives: from log-probabilities to a loss for each pair. Pure functions of tensors."""

from pref_assets.training.objectives.dpo import DPO
from pref_assets.training.objectives.kernel import Objective, PairLosses, Pairs, Sequences

ObjectiveConfig = DPO
"""What `objective:` of a policy checkpoint may be; becomes a union discriminated by ``type`` with the second one."""

__all__ = ["DPO", "Objective", "ObjectiveConfig", "PairLosses", "Pairs", "Sequences"]
