"""A random sample: the control of the same size that every selector has to beat."""

from typing import Literal

import polars as pl

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted


class Random(Budgeted):
    """A uniform sample without replacement.

    Every pair draws a number from its id and the seed and the smallest are taken, so that a smaller budget is a
    subset of a larger one, and new pairs displace few old ones.
    """

    type: Literal["random"] = "random"

    def select(self, pool: Pool) -> pl.DataFrame:
        candidates = pool.candidates().select("pair_id")
        order = candidates.sort(by=seeded_hash(candidates["pair_id"], self.seed, "random"))
        order = order.with_columns(selected=pl.Series(self.take(pool, order["pair_id"].to_list())))
        reason = pl.when("selected").then(pl.lit("selected: drawn")).otherwise(pl.lit("over_budget: not drawn"))
        return decide(pool, order.with_columns(reason=reason))
