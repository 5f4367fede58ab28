"""Rewards: of reward models, of policies against their reference, and of sampled answers."""

from pref_assets.scoring.reward.difficulty import RefDifficulty

__all__ = ["RefDifficulty"]
