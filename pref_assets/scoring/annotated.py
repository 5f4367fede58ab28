"""What people said of pairs, as numbers that losses and selectors can read: their ratings, and how strongly."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.scoring.base import RankBy, Scorer, pair_scores, ranked_by, sides


class Ratings(Scorer):
    """The weighted sum of the mean ratings of either side, as HelpSteer2 adds attributes up (arXiv:2406.08673).

    ``score_chosen`` and ``score_rejected`` are the sums, ``score`` what ``by`` makes of them. A side that was not rated
    in one of the dimensions has none, and the pair no score (category ``unrated``). The details are each dimension's
    margin. Reward models learn them with loss `regression`.
    """

    type: Literal["ratings"] = "ratings"
    weights: dict[str, float] = Field(min_length=1)
    """Weight of each dimension of the ratings."""
    by: RankBy = "margin"
    """What to rank by: the margin between the two sums, either sum, or their mean."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES``; null where a side was not rated."""
        rated = pool.completions.select(id="completion_id", rating="ratings").explode("rating").drop_nulls("rating")
        rated = rated.select("id", pl.col("rating").struct.unnest()).filter(pl.col("value").is_finite())
        names = {name: f"of_{place}" for place, name in enumerate(self.weights)}
        means = rated.group_by("id").agg(
            pl.col("value").filter(dimension=name).mean().alias(column) for name, column in names.items()
        )
        # A sum with a null in it is null, as wanted; summing horizontally would leave the null out.
        weighed = [weight * pl.col(names[name]) for name, weight in self.weights.items()]
        total = weighed[0]
        for each in weighed[1:]:
            total = total + each
        frame = sides(pool.pairs, means.with_columns(total=total), ["total", *names.values()])
        margins = {name: pl.col(f"{c}_chosen") - pl.col(f"{c}_rejected") for name, c in names.items()}
        score = ranked_by(self.by, pl.col("total_chosen"), pl.col("total_rejected"))
        frame = frame.select(
            "pair_id", score_chosen="total_chosen", score_rejected="total_rejected", score=score, **margins
        )
        unrated = pl.when(pl.any_horizontal(pl.col("score_chosen", "score_rejected").is_null())).then(pl.lit("unrated"))
        frame = frame.with_columns(category=unrated)
        frame = frame.with_columns(score=pl.when(pl.col("category").is_null()).then("score"))
        return pair_scores(frame, details=list(self.weights))


class Strength(Scorer):
    """How much better the voters find the chosen side, in the source's unit: the pairs' column as scores, for losses
    with margins and scales. Pairs of which nobody said have no score (category ``unsaid``)."""

    type: Literal["strength"] = "strength"

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES``; null where nobody said."""
        said = pl.col("strength").is_finite().fill_null(False)
        return pair_scores(
            pool.pairs.select(
                "pair_id",
                score=pl.when(said).then("strength"),
                category=pl.when(~said).then(pl.lit("unsaid")),
            )
        )
