"""Evaluation: what a checkpoint or a score is worth, with intervals, next to what needs no model.

An entry of the block ``evaluations`` is one of ``EvaluationConfig``. ``base.evaluate`` runs it; ``leaderboard`` lays
the results side by side.
"""

from typing import Annotated

from pydantic import Field

from pref_assets.evaluation.arena import Arena
from pref_assets.evaluation.benches import MMRLHFBench, RewardBench
from pref_assets.evaluation.best_of_n import BestOfN
from pref_assets.evaluation.calibration import Calibration
from pref_assets.evaluation.dimensions import DimensionTable
from pref_assets.evaluation.divergence import Divergence
from pref_assets.evaluation.diversity import Diversity
from pref_assets.evaluation.probe import Probe
from pref_assets.evaluation.ranking import RankingAccuracy
from pref_assets.evaluation.reward import LengthBias, RewardAccuracy
from pref_assets.evaluation.safety import Safety
from pref_assets.evaluation.style import StyleBias
from pref_assets.evaluation.value_drift import ValueDrift
from pref_assets.evaluation.verifier import Verifier
from pref_assets.evaluation.win_rate import WinRate

EvaluationConfig = Annotated[
    RewardAccuracy
    | LengthBias
    | StyleBias
    | Calibration
    | RewardBench
    | MMRLHFBench
    | Probe
    | RankingAccuracy
    | Verifier
    | WinRate
    | Divergence
    | Diversity
    | BestOfN
    | ValueDrift
    | Safety
    | DimensionTable
    | Arena,
    Field(discriminator="type"),
]

__all__ = [
    "Arena",
    "BestOfN",
    "Calibration",
    "DimensionTable",
    "Divergence",
    "Diversity",
    "EvaluationConfig",
    "LengthBias",
    "MMRLHFBench",
    "Probe",
    "RankingAccuracy",
    "RewardAccuracy",
    "RewardBench",
    "Safety",
    "StyleBias",
    "ValueDrift",
    "Verifier",
    "WinRate",
]
