"""Drops the pairs whose label a cross-fitted ensemble contradicts."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.selection.base import ranked
from pref_assets.selection.cleaning import Cleaner
from pref_assets.settings import ScoresName


class FlipFilter(Cleaner):
    """Keeps pairs whose label looks right; the others are probably flipped.

    Preference strength of an ensemble finds wrong labels: Wang et al., "Secrets of RLHF in Large Language Models
    Part II: Reward Modeling" (arXiv:2401.06080), section 2.1; the 20 % with the lowest mean margin do harm there.
    Scores must be out of fold, as a model fitted on a flipped pair partly agrees with it.
    """

    type: Literal["flip_filter"] = "flip_filter"
    scores: ScoresName
    """Scores of an ensemble (mean margin, calibrated probability)."""
    criterion: Literal["p_correct", "lowest_share"] = "p_correct"
    """Drop below a calibrated probability, or drop a fixed share with the lowest mean margin."""
    min_p_correct: float = Field(default=0.5, ge=0, le=1)
    """Used by `p_correct`: pairs below are dropped. 0.5 drops the pairs with a negative margin."""
    share: float = Field(default=0.2, gt=0, lt=1)
    """Used by `lowest_share`: the share of train pairs to drop; 20 % in the paper."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite score, or fewer pairs look clean than the budget asks.
        """
        column = "p_correct" if self.criterion == "p_correct" else "score"
        order = ranked(pool.scored(self.scores, column), self.seed)
        if self.criterion == "p_correct":
            flagged, rule = pl.col("score") < self.min_p_correct, f"p_correct below {self.min_p_correct:g}"
        else:
            kept = len(order) - round(self.share * len(order))
            flagged, rule = pl.int_range(pl.len()) >= kept, f"among the lowest {self.share:.0%} of margins"
        reason = pl.when("clean").then(pl.lit("selected: label looks right")).otherwise(pl.lit(f"flipped: {rule}"))
        order = order.with_columns(clean=~flagged).with_columns(reason=reason)
        return self.keep(pool, order.select("pair_id", "score", "clean", "reason"), rule)
