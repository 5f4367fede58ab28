"""Everything that puts a number on a completion or a pair."""

from pref_assets.scoring.base import MeasuredScorer, Scorer
from pref_assets.scoring.bradley_terry import BradleyTerry, Ensemble
from pref_assets.scoring.ensemble import RewardEnsemble

RewardModelConfig = BradleyTerry
ScorerConfig = RewardEnsemble

__all__ = [
    "BradleyTerry",
    "Ensemble",
    "MeasuredScorer",
    "RewardEnsemble",
    "RewardModelConfig",
    "Scorer",
    "ScorerConfig",
]
