"""An equal share of every cluster of loss trajectories."""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.turns import Ints, clusters_of, draws, in_turns, nested_turns, numbered, sized
from pref_assets.settings import ClustersName


class S2L(Budgeted):
    """S2L: Yang et al., "SmallToLarge (S2L): Scalable Data Selection" (arXiv:2403.07384), algorithm 1: a balanced
    random sample of clusters of loss trajectories.

    The budget is shared by water-filling: clusters smaller than an equal share are taken whole, the others give alike.
    (A comment in the published code says that the largest cluster goes first; the code starts with the smallest, and
    only that balances.) Clusters of at most ``small`` pairs give only when the others cannot fill the budget, as
    published. Needs clusters, of any kind; the paper's are ``trajectories``. Time O(n log n).
    """

    type: Literal["s2l"] = "s2l"
    clusters: ClustersName
    """Clusters to balance; of completions, a pair is where its chosen completion is."""
    by_source: bool = False
    """Share the budget among the sources first, then among the clusters of each, as published."""
    small: int = Field(default=2, ge=0)
    """Clusters of at most so many pairs come last; 2 in the published code."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no cluster, or the budget is larger than the pool.
        """
        candidates = pool.candidates()
        candidates = candidates.sort(seeded_hash(candidates["pair_id"], self.seed, "s2l"))
        clusters = clusters_of(pool, self.clusters, candidates)
        cells = clusters
        if self.by_source:
            sources = _sources(candidates)
            cells = np.unique(np.stack([sources, clusters]), axis=1, return_inverse=True)[1].ravel().astype(np.int64)
        size = sized(cells)
        late = size <= self.small
        order = np.concatenate([self._order(np.flatnonzero(late == last), cells, candidates) for last in (False, True)])
        frame = candidates.select("pair_id").with_columns(
            cluster=pl.Series(clusters), draw=pl.Series(draws(cells, order)), size=pl.Series(size)
        )[order]
        selected = pl.Series(self.take(pool, frame["pair_id"].to_list()), dtype=pl.Boolean)
        detail = pl.format("draw {} of {} pairs in cluster {}", "draw", "size", "cluster")
        reason = pl.format(
            "{}: {}", pl.when("selected").then(pl.lit("selected")).otherwise(pl.lit("over_share")), detail
        )
        frame = frame.with_columns(selected=selected).with_columns(reason=reason)
        return decide(pool, frame.select("pair_id", "selected", "reason"))

    def _order(self, rows: Ints, cells: Ints, candidates: pl.DataFrame) -> Ints:
        if not self.by_source:
            return rows[in_turns(cells[rows])]
        return rows[nested_turns(_sources(candidates)[rows], cells[rows])]


def _sources(pairs: pl.DataFrame) -> Ints:
    """The source of each pair, the first by name where it has several, as a number."""
    first = pl.col("provenance").list.eval(pl.element().struct.field("source")).list.min()
    return numbered(pairs.select(first.fill_null("")).to_series().to_list())
