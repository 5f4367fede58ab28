"""Every train pair: the control that selects nothing away."""

from typing import Literal

import polars as pl

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import Selector, decide


class All(Selector):
    """All train pairs, ranked in an order drawn from the seed."""

    type: Literal["all"] = "all"

    def select(self, pool: Pool) -> pl.DataFrame:
        candidates = pool.candidates()
        order = candidates.select("pair_id").with_columns(hash=seeded_hash(candidates["pair_id"], self.seed, "all"))
        return decide(
            pool,
            order.sort("hash").select("pair_id", selected=pl.lit(True), reason=pl.lit("selected: every train pair")),
        )
