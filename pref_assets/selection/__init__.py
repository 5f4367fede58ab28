"""Everything that decides which pairs train."""

from typing import Annotated

from pydantic import Field

from pref_assets.pool import Pool, Vectors
from pref_assets.selection.adapt_infinity import AdaptInfinity
from pref_assets.selection.add_one_in import AddOneIn
from pref_assets.selection.all import All
from pref_assets.selection.attention_ratio import AttentionRatioSelector
from pref_assets.selection.band import Band
from pref_assets.selection.base import Selector
from pref_assets.selection.budget import Budget, Budgeted
from pref_assets.selection.cluster_quota import ClusterQuota
from pref_assets.selection.confident_learning import ConfidentLearning
from pref_assets.selection.crm import Crm
from pref_assets.selection.curry import Curry
from pref_assets.selection.deita import Deita
from pref_assets.selection.distinct import Distinct
from pref_assets.selection.dsir import Dsir
from pref_assets.selection.facility_location import FacilityLocation
from pref_assets.selection.fifa import Fifa
from pref_assets.selection.flip_filter import FlipFilter
from pref_assets.selection.flip_model import FlipModel
from pref_assets.selection.gumbel_top_k import GumbelTopK
from pref_assets.selection.hybrid_route import HybridRoute
from pref_assets.selection.k_center import KCenter
from pref_assets.selection.length_balanced import LengthBalanced
from pref_assets.selection.mates import Mates
from pref_assets.selection.mm_rlhf_resample import MMRLHFResample
from pref_assets.selection.mpo_split import MPOSplit
from pref_assets.selection.pair_quality import PairQuality
from pref_assets.selection.product_score_diverse import ProductScoreDiverse
from pref_assets.selection.quad import Quad
from pref_assets.selection.random import Random
from pref_assets.selection.relabel_vote import RelabelVote
from pref_assets.selection.reward_variance import RewardVariance
from pref_assets.selection.s2l import S2L
from pref_assets.selection.secrets import Secrets
from pref_assets.selection.sequence import Sequence
from pref_assets.selection.skill_graph import SkillGraph
from pref_assets.selection.stages import Stages
from pref_assets.selection.stratified import Stratified
from pref_assets.selection.threshold import Threshold
from pref_assets.selection.top_k import TopK
from pref_assets.selection.top_margin import TopMargin

SelectorConfig = Annotated[
    All
    | Random
    | S2L
    | MMRLHFResample
    | ClusterQuota
    | AdaptInfinity
    | AddOneIn
    | TopMargin
    | Deita
    | Distinct
    | FlipFilter
    | RewardVariance
    | TopK
    | GumbelTopK
    | Band
    | Threshold
    | KCenter
    | Sequence
    | Mates
    | Quad
    | Crm
    | ConfidentLearning
    | FlipModel
    | PairQuality
    | RelabelVote
    | Secrets
    | Dsir
    | Fifa
    | ProductScoreDiverse
    | SkillGraph
    | FacilityLocation
    | Stratified
    | MPOSplit
    | Stages
    | Curry
    | LengthBalanced
    | AttentionRatioSelector
    | HybridRoute,
    Field(discriminator="type"),
]

Sequence.model_rebuild(_types_namespace={"SelectorConfig": SelectorConfig})  # its steps are selectors

__all__ = [
    "S2L",
    "AdaptInfinity",
    "AddOneIn",
    "All",
    "AttentionRatioSelector",
    "Band",
    "Budget",
    "Budgeted",
    "ClusterQuota",
    "ConfidentLearning",
    "Crm",
    "Curry",
    "Deita",
    "Distinct",
    "Dsir",
    "FacilityLocation",
    "Fifa",
    "FlipFilter",
    "FlipModel",
    "GumbelTopK",
    "HybridRoute",
    "KCenter",
    "LengthBalanced",
    "MMRLHFResample",
    "MPOSplit",
    "Mates",
    "PairQuality",
    "Pool",
    "ProductScoreDiverse",
    "Quad",
    "Random",
    "RelabelVote",
    "RewardVariance",
    "Secrets",
    "Selector",
    "SelectorConfig",
    "Sequence",
    "SkillGraph",
    "Stages",
    "Stratified",
    "Threshold",
    "TopK",
    "TopMargin",
    "Vectors",
]
