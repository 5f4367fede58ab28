"""Everything that puts a number on a completion or a pair."""

from typing import Annotated

from pydantic import Field

from pref_assets.scoring.annotated import Ratings, Strength
from pref_assets.scoring.attention import AttentionRatio
from pref_assets.scoring.base import Measured, MeasuredScorer, Scorer
from pref_assets.scoring.bradley_terry import BradleyTerry, Ensemble
from pref_assets.scoring.combined import ScoreProduct, WinCount
from pref_assets.scoring.ensemble import RewardEnsemble
from pref_assets.scoring.gradients import (
    El2n,
    Grand,
    HeadEntropy,
    Influence,
    InfluenceModel,
    OneStepInfluence,
    QuantileReward,
)
from pref_assets.scoring.head import RewardHead
from pref_assets.scoring.judging import CriteriaVote, Judge, PrincipleVotes
from pref_assets.scoring.language import (
    DigitExpectation,
    FollowupLikelihood,
    InstructionFollowingDifficulty,
    Likelihood,
)
from pref_assets.scoring.mean_preference import MeanPreference
from pref_assets.scoring.reward import CritiqueReward, ImplicitReward, RefDifficulty, RewardModelScores, RolloutReward
from pref_assets.scoring.text import AvgOut, DsirWeight, KnnEntropy, SkillGraphScore

ScorerConfig = Annotated[
    RewardEnsemble
    | AttentionRatio
    | CritiqueReward
    | DigitExpectation
    | El2n
    | FollowupLikelihood
    | Grand
    | HeadEntropy
    | ImplicitReward
    | Influence
    | InstructionFollowingDifficulty
    | Judge
    | CriteriaVote
    | PrincipleVotes
    | Likelihood
    | MeanPreference
    | OneStepInfluence
    | Ratings
    | RefDifficulty
    | RewardHead
    | RewardModelScores
    | RolloutReward
    | InfluenceModel
    | QuantileReward
    | AvgOut
    | DsirWeight
    | KnnEntropy
    | ScoreProduct
    | SkillGraphScore
    | Strength
    | WinCount,
    Field(discriminator="type"),
]

__all__ = [
    "AttentionRatio",
    "AvgOut",
    "BradleyTerry",
    "CriteriaVote",
    "CritiqueReward",
    "DigitExpectation",
    "DsirWeight",
    "El2n",
    "Ensemble",
    "FollowupLikelihood",
    "Grand",
    "HeadEntropy",
    "ImplicitReward",
    "Influence",
    "InfluenceModel",
    "InstructionFollowingDifficulty",
    "Judge",
    "KnnEntropy",
    "Likelihood",
    "MeanPreference",
    "Measured",
    "MeasuredScorer",
    "OneStepInfluence",
    "PrincipleVotes",
    "QuantileReward",
    "Ratings",
    "RefDifficulty",
    "RewardEnsemble",
    "RewardHead",
    "RewardModelScores",
    "RolloutReward",
    "ScoreProduct",
    "Scorer",
    "ScorerConfig",
    "SkillGraphScore",
    "Strength",
    "WinCount",
]
