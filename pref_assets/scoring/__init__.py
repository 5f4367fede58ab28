"""Everything that puts a number on a completion or a pair."""

from typing import Annotated

from pydantic import Field

from pref_assets.scoring.base import MeasuredScorer, Scorer
from pref_assets.scoring.bradley_terry import BradleyTerry, Ensemble
from pref_assets.scoring.ensemble import RewardEnsemble
from pref_assets.scoring.gradients import El2n, Grand, HeadEntropy, Influence, OneStepInfluence
from pref_assets.scoring.judging import Judge
from pref_assets.scoring.language import InstructionFollowingDifficulty, Likelihood
from pref_assets.scoring.reward import RefDifficulty

RewardModelConfig = BradleyTerry
ScorerConfig = Annotated[
    RewardEnsemble
    | InstructionFollowingDifficulty
    | Judge
    | Likelihood
    | RefDifficulty
    | El2n
    | Grand
    | HeadEntropy
    | Influence
    | OneStepInfluence,
    Field(discriminator="type"),
]

__all__ = [
    "BradleyTerry",
    "El2n",
    "Ensemble",
    "Grand",
    "HeadEntropy",
    "Influence",
    "InstructionFollowingDifficulty",
    "Judge",
    "Likelihood",
    "MeasuredScorer",
    "OneStepInfluence",
    "RefDifficulty",
    "RewardEnsemble",
    "RewardModelConfig",
    "Scorer",
    "ScorerConfig",
]
