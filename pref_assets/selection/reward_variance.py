"""Pairs of prompts that a model sometimes answers well and sometimes not: only there is something to learn."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.settings import ScoresName


class RewardVariance(Budgeted):
    """Keeps pairs whose prompt gets different rewards for different answers of the same model (Li et al.,
    "Reinforcement Learning Tuning for VideoLLMs", Temporal-RLT, arXiv 2506.01908, data curation; card 5): a group
    of equal rewards has no advantage and no policy gradient.

    Modes: ``mixed`` asks for right and wrong answers (0 < pass rate < 1), ``std_at_least`` for a spread of rewards of
    at least ``min_std``; of the pairs that qualify, the budget is drawn at random. ``top_k_std`` takes the largest
    spreads first and is the same under r -> a r + b, a > 0. Choices: the paper leaves N and the threshold open, so
    both are fields; a pair counts by its prompt, and pairs of one prompt are told apart by the seed only.

    Needs: a ``rollout_reward`` entry. Cost: O(n log n).
    """

    type: Literal["reward_variance"] = "reward_variance"
    scores: ScoresName
    """Scores of `rollout_reward`, with `std` and `pass_rate` among the details."""
    mode: Literal["mixed", "std_at_least", "top_k_std"] = "mixed"
    """What makes a pair worth training on."""
    min_std: float = Field(default=0.1, ge=0)
    """Least standard deviation of rewards in mode `std_at_least`."""
    fill: bool = True
    """When too few qualify: fill up with the largest spreads of the others (`filled`), or stop short (false)."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no rollouts (null, NaN or infinite spread or pass rate), or the budget is
                larger than the pool.
        """
        rates = pool.scored(self.scores, "pass_rate").select("pair_id", pass_rate="score")
        frame = pool.scored(self.scores, "std").select("pair_id", "score").join(rates, on="pair_id", validate="1:1")
        hashes = seeded_hash(frame["pair_id"], self.seed, "variance")
        frame = frame.with_columns(varied=self._qualifies(), hash=hashes)
        # Those that qualify stand in a random order, unless the spread itself is the criterion; the others by spread.
        drawn = pl.col("varied") & (self.mode != "top_k_std")
        spread = pl.when(drawn).then(0.0).otherwise("score")
        order = frame.sort([~pl.col("varied"), -spread, pl.col("hash")])
        taken = pl.Series(self.take(pool, order["pair_id"].to_list()), dtype=pl.Boolean)
        order = order.with_columns(selected=taken & (pl.col("varied") | self.fill))
        return decide(pool, order.select("pair_id", "score", "selected", reason=self._reason()))

    def _qualifies(self) -> pl.Expr:
        rules = {
            "mixed": (pl.col("pass_rate") > 0) & (pl.col("pass_rate") < 1),
            "std_at_least": pl.col("score") >= self.min_std,
            "top_k_std": pl.lit(value=True),
        }
        return rules[self.mode]

    def _reason(self) -> pl.Expr:
        facts = pl.format("std {}, pass rate {}", pl.col("score").round(4), pl.col("pass_rate").round(4))
        code = (
            pl.when(pl.col("selected") & pl.col("varied"))
            .then(pl.lit("selected"))
            .when("selected")
            .then(pl.lit("filled"))
            .when("varied")
            .then(pl.lit("below_cut"))
            .otherwise(pl.lit("constant_reward" if self.mode == "mixed" else "small_spread"))
        )
        return pl.format("{}: {}", code, facts)
