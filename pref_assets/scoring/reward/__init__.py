"""Rewards: of reward models, of policies against their reference, and of sampled answers."""

from pref_assets.scoring.reward.critique import CritiqueReward
from pref_assets.scoring.reward.difficulty import RefDifficulty
from pref_assets.scoring.reward.implicit import ImplicitReward
from pref_assets.scoring.reward.model import RewardModelScores
from pref_assets.scoring.reward.rollouts import RolloutReward

__all__ = ["CritiqueReward", "ImplicitReward", "RefDifficulty", "RewardModelScores", "RolloutReward"]
