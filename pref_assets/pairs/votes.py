"""Vote policies: which votes on a pair count, and when they settle it."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from pref_assets.settings import Settings


class VotePolicy(Settings):
    """How the votes on a pair become one label. Subclasses set ``type`` and say which votes count.

    ``p_chosen`` is the share of counted votes for the chosen side, a tie counting half for each. Votes that do not
    count stay on the pair for all to see.
    """

    ties: Literal["drop", "keep"] = "drop"
    """What becomes of pairs with equally many votes for both sides: dropped (code ``tie``), or kept with
    ``p_chosen`` 0.5."""
    min_share: float = Field(default=0.5, ge=0.5, le=1)
    """Smallest share of votes that settles a pair that is no tie; below it, it is dropped (code ``unresolved``)."""

    def counted(self) -> pl.Expr:
        """Boolean expression over vote rows (annotator, dimension): whether the vote counts."""
        raise NotImplementedError

    def says(self) -> str:
        """Which votes count, for the reason of a drop."""
        raise NotImplementedError


class Majority(VotePolicy):
    """Every vote counts the same."""

    type: Literal["majority"] = "majority"

    def counted(self) -> pl.Expr:
        return pl.lit(True)

    def says(self) -> str:
        return "votes"


class OneDimension(VotePolicy):
    """Only votes on one dimension count."""

    type: Literal["dimension"] = "dimension"
    dimension: str = Field(min_length=1)
    """The dimension."""

    def counted(self) -> pl.Expr:
        return pl.col("dimension") == self.dimension

    def says(self) -> str:
        return f"votes on dimension `{self.dimension}`"


class OneAnnotator(VotePolicy):
    """Only votes of one annotator count."""

    type: Literal["annotator"] = "annotator"
    annotator: str = Field(min_length=1)
    """The annotator."""

    def counted(self) -> pl.Expr:
        return pl.col("annotator") == self.annotator

    def says(self) -> str:
        return f"votes of annotator `{self.annotator}`"


VotePolicyConfig = Annotated[Majority | OneDimension | OneAnnotator, Field(discriminator="type")]
