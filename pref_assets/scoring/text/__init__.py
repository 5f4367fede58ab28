"""Scores that texts and their vectors give without any model."""

from pref_assets.scoring.text.avgout import AvgOut
from pref_assets.scoring.text.dsir import DsirWeight
from pref_assets.scoring.text.dsir_targets import DsirTarget, FileTarget, SourceTarget, SplitTarget
from pref_assets.scoring.text.knn_entropy import KnnEntropy
from pref_assets.scoring.text.skill_graph import SkillGraphScore

__all__ = [
    "AvgOut",
    "DsirTarget",
    "DsirWeight",
    "FileTarget",
    "KnnEntropy",
    "SkillGraphScore",
    "SourceTarget",
    "SplitTarget",
]
