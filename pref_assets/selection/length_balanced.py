"""As many pairs where the longer answer won as where the shorter did, so that length does not give the label away."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.eligible import take_eligible
from pref_assets.selection.quotas import largest_remainder
from pref_assets.selection.strata import bins_of, lengths_of


class LengthBalanced(Budgeted):
    """A random sample in which the longer answer is chosen as often as rejected, at every size of the difference.

    Reward models learn length where the data rewards it (Singhal et al., arXiv:2310.03716). Pairs are binned by the
    size of their length difference; within a bin, pairs that chose the longer answer are coupled with pairs that
    rejected it, and couples are drawn, bins in proportion to the couples they hold. Pairs of equal length are neutral
    and take their share. [choice] An odd number without neutral pairs leaves one pair single; under a budget in
    tokens, couples take turns and the last ones may be broken to fill it. O(n log n).
    """

    type: Literal["length_balanced"] = "length_balanced"
    length: Literal["characters", "words"] = "characters"
    """What length counts."""
    bins: int = Field(default=8, ge=1, le=1000)
    """Quantile bins of the size of the difference."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; ``score`` is the length of the chosen answer minus that of the rejected one.

        Raises:
            ValueError: the text of a completion is missing, or fewer pairs can be balanced than the budget asks.
        """
        order = self._couples(pool)
        if self.budget.tokens is None:
            order = order.sort(~pl.col("eligible"), self._over_quota(order, self.most(pool)), *_TURN)
        else:
            order = order.sort(~pl.col("eligible"), *_TURN)
        rule = f"a partner of the other kind within the {self.bins} bins of length"
        kept = take_eligible(self.type, self, pool, order, rule)
        order = order.with_columns(selected=pl.Series(kept, dtype=pl.Boolean))
        side = (
            pl.when(pl.col("score") > 0)
            .then(pl.lit("chosen longer"))
            .when(pl.col("score") < 0)
            .then(pl.lit("rejected longer"))
            .otherwise(pl.lit("equal length"))
        )
        code = (
            pl.when("selected")
            .then(pl.lit("selected"))
            .when("eligible")
            .then(pl.lit("over_budget"))
            .otherwise(pl.lit("unmatched"))
        )
        return decide(
            pool,
            order.select(
                "pair_id",
                "selected",
                score=pl.col("score").cast(pl.Float64),
                reason=pl.format("{}: {}, difference in {}", code, side, "bin"),
            ),
        )

    def _couples(self, pool: Pool) -> pl.DataFrame:
        """Candidates with ``score``, ``bin``, their ``place`` among those of their bin and side in a drawn order, the
        number of ``couples`` of the bin, whether a partner makes them ``eligible``, and the ``turn`` of the couple."""
        lengths = lengths_of(pool, pool.candidates(), self.length)
        order = lengths.select("pair_id", score=pl.col("chosen") - pl.col("rejected"))
        order = order.with_columns(bin=bins_of(order["score"].abs().replace({0: None}), self.bins))
        order = order.with_columns(bin=pl.when(pl.col("score") == 0).then(pl.lit(_NEUTRAL)).otherwise("bin"))
        order = order.with_columns(hash=seeded_hash(order["pair_id"], self.seed, "length_balanced")).sort("hash")
        longer = pl.col("score") > 0
        fewer = pl.min_horizontal(longer.sum(), (pl.col("score") < 0).sum())
        couples = pl.when(pl.col("bin") == _NEUTRAL).then(pl.len()).otherwise(fewer).over("bin").cast(pl.Int64)
        order = order.with_columns(place=pl.int_range(pl.len()).over("bin", longer), couples=couples)
        return order.with_columns(
            eligible=pl.col("place") < pl.col("couples"), turn=(pl.col("place") + 0.5) / pl.col("couples")
        )

    def _over_quota(self, order: pl.DataFrame, count: int) -> pl.Series:
        """Whether a pair is beyond what its bin gives to ``count`` pairs."""
        bins = order.group_by("bin").agg(pl.col("couples").first()).sort("bin")
        neutral = int(bins.filter(pl.col("bin") == _NEUTRAL)["couples"].sum())
        bins = bins.filter(pl.col("bin") != _NEUTRAL)
        given = _neutral_share(count, neutral, 2 * int(bins["couples"].sum()))
        weights = bins["couples"].to_numpy().astype(float)
        quota = largest_remainder(bins["bin"].to_list(), weights, max(0, count - given) // 2, self.seed)
        names, parts = [*bins["bin"], _NEUTRAL], [*quota.tolist(), given]
        found = order.join(pl.DataFrame({"bin": names, "quota": parts}), on="bin", how="left", maintain_order="left")
        return found["place"] >= found["quota"]


_NEUTRAL = "none"
_TURN = ("turn", "bin", "place", "hash")


def _neutral_share(count: int, neutral: int, coupled: int) -> int:
    """How many of ``count`` pairs are neutral: their share, moved by one where that leaves whole couples."""
    if not neutral + coupled:
        return 0
    given = min(neutral, round(count * neutral / (neutral + coupled)))
    if (count - given) % 2 and neutral:
        return given + 1 if given < min(neutral, count) else given - 1
    return given
