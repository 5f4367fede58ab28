"""Easy pairs first, difficult pairs later."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import Selector, decide, ranked
from pref_assets.settings import ScoresName


class MPOSplit(Selector):
    """Splits pairs by the reward gap into an easy first and a difficult second stage: Gou & Nguyen, "Mixed Preference
    Optimization" (arXiv:2403.19443). There stage 1 is DPO on the easy pairs and stage 2 online RL on the difficult
    prompts, with the stage-1 policy as start and reference.

    [choice] Their gap per data set could not be verified: `gap_threshold` sets one, else `quantile` cuts by rank, ties
    by the seed. A negative gap is a reward that disagrees with the label; `on_negative` says what becomes of it. Gain
    may come from the size of a set alone, so the ablations are here: `keep: first` alone, stages `reversed`, or stages
    drawn at random with the same sizes. No budget: put it after a selector that has one, in a `sequence`. O(n log n).
    """

    type: Literal["mpo_split"] = "mpo_split"
    scores: ScoresName
    """Scores whose number is the gap, reward of chosen minus reward of rejected."""
    column: str = "score"
    """Which number: a column of the scores, or one of their named details."""
    gap_threshold: float | None = Field(default=None, allow_inf_nan=False)
    """Smallest gap of an easy pair."""
    quantile: float = Field(default=0.5, gt=0, lt=1)
    """Share of pairs that are difficult, where no `gap_threshold` is set."""
    on_negative: Literal["difficult", "drop", "flip"] = "difficult"
    """A pair with a negative gap: difficult, not selected, or trained with its label turned round (and its gap too)."""
    assign: Literal["gap", "reversed", "random"] = "gap"
    """How stages are assigned: by the gap, the other way round, or at random in the same sizes (ablations)."""
    keep: Literal["both", "first", "second"] = "both"
    """Which of the two stages trains; one alone is stage 1."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; easy pairs are stage 1, difficult ones stage 2; ranks go by stage and falling gap.

        Raises:
            ValueError: a train pair has no finite gap.
        """
        scored = pool.scored(self.scores, self.column).select("pair_id", "score", voted="p_chosen")
        scored = scored.with_columns(negative=pl.col("score") < 0)
        flips, drops = self.on_negative == "flip", self.on_negative == "drop"
        turned = pl.col("negative") & flips
        scored = scored.with_columns(
            score=pl.when(turned).then(-pl.col("score")).otherwise("score"),
            p_chosen=pl.when(turned).then(1 - pl.col("voted")),
            dropped=pl.col("negative") & drops,
        )
        order = ranked(scored, self.seed).sort("dropped", maintain_order=True)
        order = order.with_columns(easy=self._easy(order))
        first = self._first(order) & ~pl.col("dropped")
        order = order.with_columns(first=first).sort("dropped", ~pl.col("first"), maintain_order=True)
        return decide(pool, self._decided(order))

    def _easy(self, order: pl.DataFrame) -> pl.Series:
        """Whether each pair, in falling order of gaps, is easy."""
        if self.gap_threshold is not None:
            easy = (pl.col("score") >= self.gap_threshold) & ~pl.col("dropped")
        else:
            left = len(order) - int(order["dropped"].sum())
            easy = pl.int_range(pl.len()) < round((1 - self.quantile) * left)
        if self.on_negative == "difficult":
            easy &= ~pl.col("negative")
        return order.select(easy=easy)["easy"]

    def _first(self, order: pl.DataFrame) -> pl.Expr:
        """Whether a pair is assigned to the easy set, or to what stands in for it in an ablation."""
        if self.assign == "gap":
            return pl.col("easy")
        if self.assign == "reversed":
            return ~pl.col("easy")
        hashes = seeded_hash(order["pair_id"], self.seed, "mpo_split")
        drawn = order.select(place=pl.struct("dropped", hash=hashes).rank("ordinal"))["place"]
        return pl.lit(drawn <= int(order["easy"].sum()))

    def _decided(self, order: pl.DataFrame) -> pl.DataFrame:
        wanted = {"both": pl.lit(value=True), "first": pl.col("first"), "second": ~pl.col("first")}[self.keep]
        selected = wanted & ~pl.col("dropped")
        name = pl.when("easy").then(pl.lit("easy")).otherwise(pl.lit("difficult"))
        note = (
            pl.when(pl.col("p_chosen").is_not_null())
            .then(pl.lit(", label turned round"))
            .when("negative")
            .then(pl.lit(", against the label"))
            .otherwise(pl.lit(""))
        )
        reason = (
            pl.when("dropped")
            .then(pl.format("disagrees: gap {}", "score"))
            .when(selected)
            .then(pl.format("selected: {}, gap {}{}", name, "score", note))
            .otherwise(pl.format("other_stage: {}, gap {}{}", name, "score", note))
        )
        stage = pl.when(pl.col("first") | (self.keep != "both")).then(1).otherwise(2).cast(pl.Int64)
        return order.select("pair_id", "score", "p_chosen", selected=selected, reason=reason, stage=stage)
