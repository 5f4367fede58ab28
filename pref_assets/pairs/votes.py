"""Vote policies: which votes on a pair count and for how much, and when they settle it."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs import dawid_skene
from pref_assets.settings import Settings

SIDES = ("completion_a", "completion_b")
"""The two completions of a vote, the smaller id first."""
DIGITS = 12
"""Decimals of summed weights, so that the order of a sum changes nothing."""


class VotePolicy(Settings):
    """How the votes on a pair become one label. Subclasses set ``type`` and say what a vote weighs.

    Each side gets a weight from the votes that count; ``p_chosen`` is the share of the heavier one, the chosen side.
    Votes that do not count stay on the pair for all to see.
    """

    measure: ClassVar[str] = "share"
    """What ``p_chosen`` is, in a word."""

    ties: Literal["drop", "keep"] = "drop"
    """What becomes of pairs with equal weight on both sides: dropped (code ``tie``), or kept with ``p_chosen`` 0.5."""
    min_share: float = Field(default=0.5, ge=0.5, le=1)
    """Smallest ``p_chosen`` that settles a pair that is no tie; below it, it is dropped (code ``unresolved``)."""

    def fit(self, votes: Iterable[pl.DataFrame]) -> pl.DataFrame | None:
        """What must be learnt of annotators before any pair is settled; None where there is nothing to learn.

        Args:
            votes: all votes in parts of any size, as completion_a, completion_b, annotator, dimension, choice.
        """
        return None

    def weighed(self, votes: pl.DataFrame, fitted: pl.DataFrame | None) -> pl.DataFrame:
        """Rows of annotator and dimension with the columns ``counts`` (whether their votes count) and ``weight``."""
        raise NotImplementedError

    def tally(self, votes: pl.DataFrame, fitted: pl.DataFrame | None) -> pl.DataFrame:
        """One row for each two completions that are compared.

        Args:
            votes: completion_a, completion_b, annotator, dimension, choice.
            fitted: what ``fit`` returned for all votes.

        Returns:
            completion_a, completion_b, ``counted`` votes, of them ``for_a`` and ``ties``, weight_a and weight_b.
        """
        counts = pl.col("counts")
        sides = (
            self.weighed(votes, fitted)
            .group_by(SIDES, maintain_order=True)
            .agg(
                *self._evidence(),
                counted=counts.sum(),
                for_a=((pl.col("choice") == "a") & counts).sum(),
                ties=((pl.col("choice") == "tie") & counts).sum(),
            )
        )
        weights = self._sides(sides).with_columns(pl.col("weight_a", "weight_b").fill_null(0.0).round(DIGITS))
        return weights.select(*SIDES, "counted", "for_a", "ties", "weight_a", "weight_b")

    def says(self) -> str:
        """Which votes count, for the reason of a drop."""
        raise NotImplementedError

    def _evidence(self) -> list[pl.Expr]:
        """What is summed over the votes of a pair."""
        raise NotImplementedError

    def _sides(self, sums: pl.DataFrame) -> pl.DataFrame:
        """The sums with weight_a and weight_b."""
        raise NotImplementedError


class SharePolicy(VotePolicy):
    """Votes add up: a side's weight is the sum of the weights of its votes."""

    tie_votes: Literal["half", "ignore"] = "half"
    """What a vote for a tie does: half its weight goes to each side, or nothing (a pair with such votes alone is a
    tie)."""

    def weight(self) -> pl.Expr:
        """Weight of a vote, over its annotator and dimension."""
        raise NotImplementedError

    def weighed(self, votes: pl.DataFrame, fitted: pl.DataFrame | None) -> pl.DataFrame:
        weight = self.weight().cast(pl.Float64)
        return votes.with_columns(weight=weight, counts=weight > 0)

    def _evidence(self) -> list[pl.Expr]:
        halves = 0.5 if self.tie_votes == "half" else 0.0
        tie = pl.col("weight").filter(pl.col("choice") == "tie").sum() * halves
        return [
            (pl.col("weight").filter(pl.col("choice") == side).sum() + tie).alias(f"weight_{side}") for side in "ab"
        ]

    def _sides(self, sums: pl.DataFrame) -> pl.DataFrame:
        return sums


class Majority(SharePolicy):
    """Every vote counts the same."""

    type: Literal["majority"] = "majority"

    def weight(self) -> pl.Expr:
        return pl.lit(1.0)

    def says(self) -> str:
        return "votes"


class OneDimension(SharePolicy):
    """Only votes on one dimension count."""

    type: Literal["dimension"] = "dimension"
    dimension: str = Field(min_length=1)
    """The dimension."""

    def weight(self) -> pl.Expr:
        return pl.col("dimension") == self.dimension

    def says(self) -> str:
        return f"votes on dimension `{self.dimension}`"


class OneAnnotator(SharePolicy):
    """Only votes of one annotator count."""

    type: Literal["annotator"] = "annotator"
    annotator: str = Field(min_length=1)
    """The annotator."""

    def weight(self) -> pl.Expr:
        return pl.col("annotator") == self.annotator

    def says(self) -> str:
        return f"votes of annotator `{self.annotator}`"


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Weighted(SharePolicy):
    """A vote counts by its dimension's weight times its annotator's, both given; 0 does not count."""

    type: Literal["weighted"] = "weighted"
    dimensions: dict[str, Weight] = Field(default_factory=dict)
    """Weight of each dimension."""
    other_dimensions: Weight = 1.0
    """Weight of dimensions not named."""
    annotators: dict[str, Weight] = Field(default_factory=dict)
    """Weight of each annotator."""
    other_annotators: Weight = 1.0
    """Weight of annotators not named."""

    def weight(self) -> pl.Expr:
        dimension = _looked_up("dimension", self.dimensions, self.other_dimensions)
        return dimension * _looked_up("annotator", self.annotators, self.other_annotators)

    def says(self) -> str:
        return "votes with a weight above 0"


class DawidSkene(VotePolicy):
    """Votes count by how reliable their annotator proves to be on pairs that others judged too.

    ``p_chosen`` is the posterior probability of the chosen side under the model of Dawid and Skene (1979), fitted to
    all votes by expectation maximisation (see `pairs.dawid_skene`). What an annotator's votes on two dimensions tell
    is learnt apart. More votes refine what is known of annotators, and so move the posterior of earlier pairs.
    """

    measure: ClassVar[str] = "probability"

    type: Literal["dawid_skene"] = "dawid_skene"
    dimensions: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Dimensions whose votes count; null for all of them, as if each were a judgement of the same question."""
    smoothing: float = Field(default=10.0, ge=0)
    """Votes of an average annotator that are added to each annotator's own, so that few votes say little."""
    iterations: int = Field(default=200, ge=1)
    """Most steps of expectation maximisation."""
    tolerance: float = Field(default=1e-8, gt=0)
    """Largest change of a posterior at which it has converged."""

    def fit(self, votes: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Weights of every annotator and dimension.

        Raises:
            ValueError: there are votes, but on no pair two that count: there is nothing to learn reliability from.
        """
        counted = (part if self.dimensions is None else part.filter(self._counts()) for part in votes)
        return dawid_skene.DawidSkeneFit(self.smoothing, self.iterations, self.tolerance).fit(counted)

    def weighed(self, votes: pl.DataFrame, fitted: pl.DataFrame | None) -> pl.DataFrame:
        if fitted is None:
            raise ValueError("votes are weighed by what `fit` returned")
        known = votes.join(fitted, on=dawid_skene.WORKER, how="left", maintain_order="left")
        known = known.with_columns(counts=self._counts())
        lost = known.filter(pl.col("weight").is_null() & pl.col("counts"))
        if lost.height:
            raise ValueError(f"annotator {lost['annotator'][0]!r} had no votes when reliability was fitted")
        return known

    def says(self) -> str:
        return "votes" if self.dimensions is None else f"votes on dimensions {', '.join(self.dimensions)}"

    def _counts(self) -> pl.Expr:
        return pl.lit(True) if self.dimensions is None else pl.col("dimension").is_in(self.dimensions)

    def _evidence(self) -> list[pl.Expr]:
        return dawid_skene.evidence()

    def _sides(self, sums: pl.DataFrame) -> pl.DataFrame:
        return dawid_skene.sides(sums)


def _looked_up(column: str, weights: dict[str, float], others: float) -> pl.Expr:
    if not weights:
        return pl.lit(others)
    return pl.col(column).replace_strict(weights, default=others, return_dtype=pl.Float64)


VotePolicyConfig = Annotated[
    Majority | OneDimension | OneAnnotator | Weighted | DawidSkene, Field(discriminator="type")
]
