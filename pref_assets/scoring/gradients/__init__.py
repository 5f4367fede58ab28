"""Scorers of gradients: how hard a pair is for a small reward head, and how much learning it helps on trusted pairs."""

from pref_assets.scoring.gradients.influence import Influence, InfluenceScorer, Probe
from pref_assets.scoring.gradients.influence_model import InfluenceModel
from pref_assets.scoring.gradients.one_step import OneStepInfluence
from pref_assets.scoring.gradients.quantile_reward import QuantileReward
from pref_assets.scoring.gradients.uncertainty import El2n, Grand, HeadEntropy

__all__ = [
    "El2n",
    "Grand",
    "HeadEntropy",
    "Influence",
    "InfluenceModel",
    "InfluenceScorer",
    "OneStepInfluence",
    "Probe",
    "QuantileReward",
]
