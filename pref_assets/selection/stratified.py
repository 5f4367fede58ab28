"""A random sample that keeps the mixture, or evens it out."""

from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.quotas import Share, quotas
from pref_assets.selection.strata import By, bins_of, clusters_of, lengths_of, metadata_of, sources_of
from pref_assets.settings import ClustersName


class Stratified(Budgeted):
    """A random sample with an exact number from each stratum: as much as its share of the pool (Neyman 1934), or the
    same from each.

    Parts of a pair go to the largest remainders; a stratum too small for an equal share gives all it has and the
    others share the rest. [choice] Under a budget in tokens, whose number of pairs is not known beforehand, strata
    take turns in the same proportions. Strata of numbers are quantile bins. O(n log n).
    """

    type: Literal["stratified"] = "stratified"
    by: By
    """What strata are: the source, the strength of the votes, the length of the answers (characters of both), the
    cluster (of the pair, or of its chosen completion), or a key of the prompts' metadata."""
    share: Share = "proportional"
    """How strata share the budget: by their size, or equally."""
    bins: int = Field(default=4, ge=2, le=1000)
    """Quantile bins of `strength` and `length`."""
    clusters: ClustersName | None = None
    """Clusters, for `by: cluster`."""
    key: str | None = None
    """Key of the prompts' metadata, for `by: metadata`."""

    @model_validator(mode="after")
    def _names_what_it_needs(self) -> Self:
        for by, field in (("cluster", "clusters"), ("metadata", "key")):
            if (self.by == by) != (getattr(self, field) is not None):
                raise ValueError(f"`by: {by}` and `{field}` go together")
        return self

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: the budget is larger than the pool; a pair lacks text or a cluster; no pair has a strength, or
                no prompt the key.
        """
        candidates = pool.candidates()
        order = candidates.select("pair_id", stratum=self._strata(pool, candidates))
        order = order.with_columns(hash=seeded_hash(order["pair_id"], self.seed, "stratified")).sort("hash")
        groups = order.group_by("stratum").agg(size=pl.len().cast(pl.Int64)).sort("stratum")
        order = order.join(groups, on="stratum", maintain_order="left")
        order = order.with_columns(place=pl.int_range(pl.len()).over("stratum"))
        turn = (pl.col("place") + 0.5) / pl.col("size") if self.share == "proportional" else pl.col("place")
        if self.budget.tokens is None:
            sizes = groups["size"].to_numpy()
            quota = quotas(groups["stratum"].to_list(), sizes, self.most(pool), self.share, self.seed)
            groups = groups.with_columns(quota=pl.Series(quota))
            order = order.join(groups.select("stratum", "quota"), on="stratum", maintain_order="left")
            order = order.sort(pl.col("place") >= pl.col("quota"), turn, "hash")
        else:
            order = order.sort(turn, "hash")
        order = order.with_columns(selected=pl.Series(self.take(pool, order["pair_id"].to_list()), dtype=pl.Boolean))
        given = pl.format("{} of {} in {}", pl.col("selected").sum().over("stratum"), "size", "stratum")
        code = pl.when("selected").then(pl.lit("selected")).otherwise(pl.lit("over_quota"))
        return decide(pool, order.select("pair_id", "selected", reason=pl.format("{}: {}", code, given)))

    def _strata(self, pool: Pool, candidates: pl.DataFrame) -> pl.Series:
        """Name of each candidate's stratum."""
        if self.by == "source":
            return sources_of(candidates)
        if self.by == "strength":
            if len(candidates) and not candidates["strength"].count():
                raise ValueError("stratified: no train pair has a strength, its source does not say; use another `by`")
            return bins_of(candidates["strength"], self.bins)
        if self.by == "length":
            lengths = lengths_of(pool, candidates, "characters")
            return bins_of(lengths["chosen"] + lengths["rejected"], self.bins)
        if self.clusters is not None:
            return pl.select(pl.format("cluster {}", clusters_of(pool, candidates, self.clusters))).to_series()
        return metadata_of(pool, candidates, str(self.key))
