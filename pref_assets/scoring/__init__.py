"""Everything that puts a number on a completion or a pair."""

from typing import Annotated

from pydantic import Field

from pref_assets.scoring.base import MeasuredScorer, Scorer
from pref_assets.scoring.bradley_terry import BradleyTerry, Ensemble
from pref_assets.scoring.ensemble import RewardEnsemble
from pref_assets.scoring.reward import RefDifficulty

RewardModelConfig = BradleyTerry
ScorerConfig = Annotated[RewardEnsemble | RefDifficulty, Field(discriminator="type")]

__all__ = [
    "BradleyTerry",
    "Ensemble",
    "MeasuredScorer",
    "RefDifficulty",
    "RewardEnsemble",
    "RewardModelConfig",
    "Scorer",
    "ScorerConfig",
]
