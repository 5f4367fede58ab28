"""Clear, well asked and unlike the others, all three in one sum."""

from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pref_assets.features.neighbours import NearestNeighbours
from pref_assets.pool import Pool
from pref_assets.selection.base import decide, ranked
from pref_assets.selection.budget import Budgeted
from pref_assets.settings import ScoresName

Floats = NDArray[np.float64]
TERMS = ("margin", "quality", "diversity")


class Fifa(Budgeted):
    """FiFA: Yang et al., "Automated Filtering of Human Feedback Data for Aligning Text-to-Image Diffusion Models"
    (arXiv:2410.10166, section 4): the top k of margin + alpha · quality + gamma · log d_k, where the margin is
    |r(chosen) - r(rejected)| of a proxy reward, the quality a rating of the prompt, and d_k the distance to the k-th
    nearest neighbour, the term of an entropy of the whole set.

    The published alpha, gamma and k are not confirmed: they are fields with defaults of our own. Each term is scaled
    over the train pairs first; a constant one becomes 0. Hazard of the paper's absolute margin: a flipped label whose
    margin is large and negative counts as clear; `absolute: false` ranks it last. Needs a margin, embeddings, and a
    quality unless alpha is 0. O(n · min(n, among) · d).
    """

    type: Literal["fifa"] = "fifa"
    margin: ScoresName
    """Scores whose number is the margin."""
    margin_column: str = "score"
    """Which number of them: a column, or one of their named details."""
    absolute: bool = True
    """Take the margin without its sign, as in the paper."""
    quality: ScoresName | None = None
    """Scores that rate the prompt, or whatever else is to be good; left out with `alpha: 0`."""
    quality_column: str = "score"
    """Which number of them."""
    neighbours: NearestNeighbours
    """What diversity is measured in, e.g. `{embeddings: minilm, k: 5}`."""
    alpha: float = Field(default=0.0, ge=0)
    """Weight of quality."""
    gamma: float = Field(default=1.0, ge=0)
    """Weight of diversity."""
    normalize: Literal["minmax", "zscore", "none"] = "minmax"
    """Scale of the terms before they are added."""

    @model_validator(mode="after")
    def _quality_is_named(self) -> Self:
        if (self.quality is None) != (self.alpha == 0):
            raise ValueError("fifa: `quality` and a positive `alpha` come together: give both or neither")
        return self

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite margin, quality or vector, there are no more train pairs than ``k``,
                or the budget is larger than the pool.
        """
        scored = pool.scored(self.margin, self.margin_column)
        margin = scored["score"].to_numpy()
        quality = np.zeros(len(scored))
        if self.quality is not None:
            quality = pool.scored(self.quality, self.quality_column)["score"].to_numpy()
        distances = self.neighbours.distances(scored, pool.embeddings[self.neighbours.embeddings])
        terms = (np.abs(margin) if self.absolute else margin, quality, self.neighbours.terms(distances))
        parts = [
            weight * scaled(term, self.normalize)
            for term, weight in zip(terms, (1.0, self.alpha, self.gamma), strict=True)
        ]
        scored = scored.select("pair_id", score=pl.Series(parts[0] + parts[1] + parts[2])).with_columns(
            pl.Series(name, part) for name, part in zip(TERMS, parts, strict=True)
        )
        order = ranked(scored, self.seed)
        selected = pl.Series(self.take(pool, order["pair_id"].to_list()), dtype=pl.Boolean)
        order = order.with_columns(selected=selected)
        code = pl.when("selected").then(pl.lit("selected")).otherwise(pl.lit("below_cut"))
        reason = pl.format("{}: margin {} + quality {} + diversity {}", code, *(pl.col(t).round(4) for t in TERMS))
        return decide(pool, order.select("pair_id", "score", "selected", reason=reason))


def scaled(values: Floats, how: Literal["minmax", "zscore", "none"]) -> Floats:
    """Values (n,) on [0, 1], or with mean 0 and deviation 1, or as they are; 0 where they are all the same."""
    if how == "none" or not len(values):
        return values
    low, width = (values.min(), np.ptp(values)) if how == "minmax" else (values.mean(), values.std())
    if np.ptp(values) == 0:
        return np.zeros(len(values))
    found: Floats = (values - low) / width
    return found
