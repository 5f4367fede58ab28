"""Training: from a subset of pairs to an immutable checkpoint."""

from typing import Annotated

from pydantic import Field

from pref_assets.training.critique_reward import CritiqueRewardCheckpoint
from pref_assets.training.policy import PolicyCheckpoint
from pref_assets.training.reference import ReferenceLogps
from pref_assets.training.reward_model import RewardModelCheckpoint

CheckpointConfig = Annotated[
    PolicyCheckpoint | RewardModelCheckpoint | CritiqueRewardCheckpoint, Field(discriminator="type")
]
"""What an entry of `checkpoints:` may be."""

__all__ = [
    "CheckpointConfig",
    "CritiqueRewardCheckpoint",
    "PolicyCheckpoint",
    "ReferenceLogps",
    "RewardModelCheckpoint",
]
