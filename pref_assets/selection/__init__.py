"""Everything that decides which pairs train."""

from typing import Annotated

from pydantic import Field

from pref_assets.pool import Pool, Vectors
from pref_assets.selection.all import All
from pref_assets.selection.base import Selector
from pref_assets.selection.budget import Budget, Budgeted
from pref_assets.selection.deita import Deita
from pref_assets.selection.distinct import Distinct
from pref_assets.selection.flip_filter import FlipFilter
from pref_assets.selection.random import Random
from pref_assets.selection.reward_variance import RewardVariance
from pref_assets.selection.top_margin import TopMargin

SelectorConfig = Annotated[
    All | Random | TopMargin | Deita | Distinct | FlipFilter | RewardVariance, Field(discriminator="type")
]

__all__ = [
    "All",
    "Budget",
    "Budgeted",
    "Deita",
    "Distinct",
    "FlipFilter",
    "Pool",
    "Random",
    "RewardVariance",
    "Selector",
    "SelectorConfig",
    "TopMargin",
    "Vectors",
]
