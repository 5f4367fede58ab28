"""A sample that looks like the target."""

from typing import Literal

import polars as pl

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring.text.dsir import TOO_SHORT
from pref_assets.selection.base import decide, ranked
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.eligible import take_eligible
from pref_assets.selection.gumbel_top_k import gumbel_keys
from pref_assets.settings import ScoresName


class Dsir(Budgeted):
    """Importance resampling of DSIR: Xie et al., "Data Selection for Language Models via Importance Resampling"
    (arXiv:2302.03169, section 2 and algorithm 1): the top k of log w + Gumbel(0, 1) noise, a sample without replacement
    in which the first pick has probability w / sum of w.

    Log weights come from `dsir_weight` scores. Pairs too short to have a weight are never taken (`too_short`). Noise is
    drawn from each pair's id, so that a smaller budget is a subset of a larger one. O(n log n).
    """

    type: Literal["dsir"] = "dsir"
    scores: ScoresName
    """Scores of type `dsir_weight`."""
    top_k: bool = False
    """Take the largest weights, without noise."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair that is not too short has no finite weight, or the budget is larger than the pool
                or than the pairs that have a weight.
        """
        table = pool.scores[self.scores]
        short = pool.candidates().join(
            table.filter(pl.col("category") == TOO_SHORT), on="pair_id", how="semi", maintain_order="left"
        )
        long = pool.only(pool.candidates().join(short, on="pair_id", how="anti")["pair_id"])
        scored = long.scored(self.scores).select("pair_id", log_w="score")
        logits = scored["log_w"].to_numpy()
        keys = logits if self.top_k else gumbel_keys(scored["pair_id"], logits, 1.0, self.seed, "dsir")
        order = ranked(scored.with_columns(score=pl.Series(keys, dtype=pl.Float64)), self.seed)
        order = order.select("pair_id", score="log_w", eligible=True)
        rest = short.select("pair_id", score=pl.lit(None, PAIR_SCORES.schema["score"]), eligible=False)
        order = pl.concat([order, rest])
        kept = take_eligible("dsir", self, pool, order, "as many tokens as `min_tokens` of the weights asks")
        reason = (
            pl.when("selected")
            .then(pl.lit("selected: largest weight" if self.top_k else "selected: drawn by weight"))
            .when("eligible")
            .then(pl.lit("below_cut: smaller weight" if self.top_k else "over_budget: not drawn"))
            .otherwise(pl.lit("too_short: no weight"))
        )
        order = order.with_columns(selected=pl.Series(kept))
        return decide(pool, order.select("pair_id", "score", "selected", reason=reason))
