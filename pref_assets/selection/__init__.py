"""Everything that decides which pairs train."""

from typing import Annotated

from pydantic import Field

from pref_assets.pool import Pool, Vectors
from pref_assets.selection.all import All
from pref_assets.selection.band import Band
from pref_assets.selection.base import Selector
from pref_assets.selection.budget import Budget, Budgeted
from pref_assets.selection.deita import Deita
from pref_assets.selection.distinct import Distinct
from pref_assets.selection.flip_filter import FlipFilter
from pref_assets.selection.gumbel_top_k import GumbelTopK
from pref_assets.selection.k_center import KCenter
from pref_assets.selection.mates import Mates
from pref_assets.selection.quad import Quad
from pref_assets.selection.random import Random
from pref_assets.selection.reward_variance import RewardVariance
from pref_assets.selection.sequence import Sequence
from pref_assets.selection.threshold import Threshold
from pref_assets.selection.top_k import TopK
from pref_assets.selection.top_margin import TopMargin

SelectorConfig = Annotated[
    All
    | Random
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
    | Quad,
    Field(discriminator="type"),
]

Sequence.model_rebuild(_types_namespace={"SelectorConfig": SelectorConfig})  # its steps are selectors

__all__ = [
    "All",
    "Band",
    "Budget",
    "Budgeted",
    "Deita",
    "Distinct",
    "FlipFilter",
    "GumbelTopK",
    "KCenter",
    "Mates",
    "Pool",
    "Quad",
    "Random",
    "RewardVariance",
    "Selector",
    "SelectorConfig",
    "Sequence",
    "Threshold",
    "TopK",
    "TopMargin",
    "Vectors",
]
