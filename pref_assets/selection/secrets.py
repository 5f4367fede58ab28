"""Relabels the pairs whose label an ensemble contradicts, or demands margins as large as it sees."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.selection.base import ranked
from pref_assets.selection.cleaning import Cleaner, mixed
from pref_assets.settings import ScoresName

Action = Literal["flip", "soft_label", "margin", "flip_and_margin", "soft_and_margin"]


class Secrets(Cleaner):
    """Trains pairs with the label that an ensemble's mean margin suggests: flipped, softened, or with a margin. Wang
    et al., "Secrets of RLHF in Large Language Models Part II: Reward Modeling" (arXiv:2401.06080), sections 2.2 to 2.4.

    The mean margin mu of a pair is what ``scores`` hold; they must be out of fold, as a model fitted on a flipped pair
    partly agrees with it. ``flip`` turns the pairs with the lowest mu around; ``soft_label`` makes labels with mu < 0
    uncertain; ``margin`` asks the loss for -log s(r_chosen - r_rejected - mu), which asks less than nothing where mu is
    negative and its pair was not flipped. A flipped pair demands -mu. Both orders of a pair give the same result, and
    ties (p_chosen 0.5) have no label to flip. Nothing is dropped. In the card's own toy flipping lowered residual noise
    but not the error of the head: it is no free win. The contrastive and meta-learning remedies of the paper are
    objectives of a trainer, not selections.

    Needs ensemble scores. Cost O(n log n).
    """

    type: Literal["secrets"] = "secrets"
    scores: ScoresName
    """Scores of an ensemble, out of fold; the mean margin is their `score`."""
    action: Action = "flip"
    """What becomes of the labels: flip the lowest, soften the negative ones, demand margins, or both."""
    flip_share: float = Field(default=0.2, gt=0, lt=1)
    """The share of labelled pairs with the lowest mean margin that is flipped; 20 % in the paper."""
    soften_below: float = 0.0
    """Mean margins below this are softened; 0 in the paper."""
    alpha: float = Field(default=0.1, ge=0, le=0.5)
    """How likely a softened label is wrong; 0.1 in the paper, 0.5 makes it a tie."""
    margin_scale: float = Field(default=1.0, gt=0)
    """Margin demanded for each unit of mean margin; 1 in the paper, whose ensemble has the trained model's scale."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no finite score, or the budget is larger than the pool.
        """
        order = ranked(pool.scored(self.scores), self.seed)
        label, margin = pl.col("p_chosen"), pl.lit(None, pl.Float64)
        changed, reason = pl.lit(False), pl.lit("")
        if self.action.startswith("flip"):
            order = order.with_columns(changed=pl.col("pair_id").is_in(self._lowest(order)))
            changed, to = pl.col("changed"), mixed(label, 1.0)
            reason = pl.format("flipped_label: mean margin {} is among the lowest {}", _shown(), pl.lit(self._share()))
        elif self.action.startswith("soft"):
            changed, to = (pl.col("score") < self.soften_below) & (label != 0.5), mixed(label, self.alpha)
            reason = pl.format("soft_label: mean margin {} is below {}", _shown(), pl.lit(f"{self.soften_below:g}"))
        else:
            to = label
        if self.action.endswith("margin"):
            flipped = changed if self.action == "flip_and_margin" else pl.lit(False)
            margin = self.margin_scale * pl.when(flipped).then(-pl.col("score")).otherwise("score")
        order = order.select(
            "pair_id",
            "score",
            clean=pl.lit(True),
            reason=pl.when(changed).then(reason).otherwise(pl.lit("selected: label kept")),
            p_chosen=pl.when(changed).then(to),
            margin=margin,
        )
        return self.keep(pool, order)

    def _lowest(self, order: pl.DataFrame) -> list[str]:
        """The labelled pairs to flip, of an order from the highest mean margin down."""
        known = order.filter(pl.col("p_chosen") != 0.5)["pair_id"]
        return known.tail(round(self.flip_share * len(known))).to_list()

    def _share(self) -> str:
        return f"{100 * self.flip_share:g} %"


def _shown() -> pl.Expr:
    return pl.col("score").round(3)
