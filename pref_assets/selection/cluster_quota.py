"""A share of every cluster."""

from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import model_validator

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide, ranked
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.turns import clusters_of, draws, in_turns, sized
from pref_assets.settings import ClustersName, ScoresName


class ClusterQuota(Budgeted):
    """Shares the budget among clusters, and takes the best by score, or a random sample, of each.

    Shares are equal, or proportional to the size of a cluster or to its square root (between the two: rare topics
    count more than their size and less than common ones). What does not divide goes by the highest averages of Webster,
    and what a cluster is too small for goes to the others. Time O(n log n).
    """

    type: Literal["cluster_quota"] = "cluster_quota"
    clusters: ClustersName
    """Clusters to share among; of completions, a pair is where its chosen completion is. Noise counts as a cluster."""
    quota: Literal["equal", "proportional", "sqrt"] = "equal"
    """Share of a cluster: the same for all, its size, or the square root of its size."""
    scores: ScoresName | None = None
    """Scores to rank by inside a cluster; a random sample if left out."""
    column: str = "score"
    """Which number of the scores: a column, or one of their named details."""
    ascending: bool = False
    """Take the lowest scores in place of the highest."""

    @model_validator(mode="after")
    def _an_order_needs_scores(self) -> Self:
        if self.scores is None and (self.ascending or self.column != "score"):
            raise ValueError("`column` and `ascending` say how to rank by `scores`, which are left out")
        return self

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no cluster or no finite score, or the budget is larger than the pool.
        """
        rows = self._within(pool)
        clusters = clusters_of(pool, self.clusters, rows)
        size = sized(clusters)
        weight = {"equal": np.ones(len(size)), "proportional": size.astype(float), "sqrt": np.sqrt(size)}[self.quota]
        order = in_turns(clusters, dict(zip(clusters.tolist(), weight.tolist(), strict=True)))
        frame = rows.select("pair_id", "score").with_columns(
            cluster=pl.Series(clusters), draw=pl.Series(draws(clusters, order)), size=pl.Series(size)
        )[order]
        selected = pl.Series(self.take(pool, frame["pair_id"].to_list()), dtype=pl.Boolean)
        code = pl.when("selected").then(pl.lit("selected")).otherwise(pl.lit("over_quota"))
        reason = pl.format("{}: number {} of {} in cluster {}", code, "draw", "size", "cluster")
        frame = frame.with_columns(selected=selected).with_columns(reason=reason)
        return decide(pool, frame.select("pair_id", "score", "selected", "reason"))

    def _within(self, pool: Pool) -> pl.DataFrame:
        """The candidates in the order in which a cluster gives them, with a ``score``, null where none is given."""
        if self.scores is None:
            candidates = pool.candidates().with_columns(score=pl.lit(None, pl.Float64))
            return candidates.sort(seeded_hash(candidates["pair_id"], self.seed, "cluster_quota"))
        scored = pool.scored(self.scores, self.column)
        if not self.ascending:
            return ranked(scored, self.seed)
        return ranked(scored.with_columns(-pl.col("score")), self.seed).with_columns(-pl.col("score"))
