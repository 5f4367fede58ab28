"""A random sample: the control of the same size that every selector has to beat."""

from typing import Literal

import polars as pl

from pref_assets.selection.base import BudgetField, Pool, Selector, decide, seeded_hash


class Random(Selector):
    """A uniform sample without replacement.

    Every pair draws a number from its id and the seed and the smallest are taken, so that a smaller budget is a
    subset of a larger one, and new pairs displace few old ones.
    """

    type: Literal["random"] = "random"
    budget: BudgetField
    """How many to keep: `96` pairs, or `25%` of the train pairs."""

    def select(self, pool: Pool) -> pl.DataFrame:
        candidates = pool.candidates()
        count = self.budget.resolve(len(candidates))
        hashes = seeded_hash(candidates["pair_id"], self.seed, "random")
        selected = pl.int_range(pl.len()) < count
        order = (
            candidates.with_columns(hash=hashes)
            .sort("hash")
            .select(
                "pair_id",
                selected=selected,
                reason=pl.when(selected).then(pl.lit("selected: drawn")).otherwise(pl.lit("over_budget: not drawn")),
            )
        )
        return decide(pool, order)
