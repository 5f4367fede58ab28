"""Semantic duplicates: of pairs that say nearly the same, one trains."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.selection.base import Selector, decide, ranked
from pref_assets.selection.deita import REDUNDANT, greedy_filter
from pref_assets.settings import ClustersName, EmbeddingsName, ScoresName

Floats = NDArray[np.float32]
_ARRIVAL = ("batch", "uri", "row")


class Distinct(Selector):
    """Keeps a train pair unless it is too close to one kept before it, like SemDeDup (Abbas et al., arXiv:2303.09540,
    section 3), but in a stated order in place of the one least like its cluster's centre, so that what is dropped is
    always close to something that stays.

    Two pairs are as close as the mean of the cosines of their chosen and of their rejected completions, or of the
    chosen alone. Pairs are visited by score where one is given, the best first, or else as their rows come (batch,
    file, row). There is no budget: every pair that is different enough is kept.
    """

    type: Literal["distinct"] = "distinct"
    embeddings: EmbeddingsName
    """Embeddings in which pairs are compared."""
    threshold: float = Field(default=0.95, ge=-1, le=1)
    """Largest cosine similarity to a kept pair."""
    compare: Literal["both", "chosen"] = "both"
    """Which completions: both, each with its like, or the chosen one alone."""
    quality: ScoresName | None = None
    """Scores that say which of two similar pairs stays; without them the earlier row does."""
    column: str = "score"
    """Which number of the scores: a column, or one of their named details."""
    within: ClustersName | None = None
    """Clusters (of completions) to compare in: only pairs whose chosen completions share one meet. Cost falls from
    the square of all pairs to that of a cluster, and near pairs on both sides of a border are missed."""
    most: int = Field(default=100_000, ge=1)
    """Most pairs to compare with one another, in a cluster or in all: bounds time and memory. Where nothing is
    dropped, 30,000 pairs take a dozen seconds on a core and 100,000 more than two minutes: use `within` for more."""
    block: int = Field(default=1024, ge=1)
    """Pairs compared at once; changes speed, never the result."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool. Time O(n · kept · d) in each cluster, memory O(block · kept + kept · d).

        Raises:
            ValueError: a pair has no vector, score or cluster, or a cluster holds more than ``most`` pairs.
        """
        order = self._order(pool)
        vectors = self._vectors(pool, order)
        place = np.zeros(len(order), dtype=np.int64) if self.within is None else _clusters(pool, order, self.within)
        near = np.full(len(order), -1, dtype=np.int64)
        cosine = np.zeros(len(order), dtype=np.float32)
        for rows in _members(place):
            self._check_size(len(rows), int(place[rows[0]]))
            state, first, close = greedy_filter(vectors[rows], len(rows), self._limit(), self.block)
            dropped = state == REDUNDANT
            near[rows[dropped]], cosine[rows[dropped]] = rows[first[dropped]], close[dropped]
        return decide(pool, _reasons(order, near, cosine))

    def _order(self, pool: Pool) -> pl.DataFrame:
        """Candidates as they are visited, with a ``score``, null where none is given."""
        if self.quality is not None:
            return ranked(pool.scored(self.quality, self.column), self.seed)
        candidates = pool.candidates()
        rows = candidates.select("pair_id", "provenance").explode("provenance").unnest("provenance")
        rows = rows.sort(*_ARRIVAL, "pair_id").unique("pair_id", keep="first", maintain_order=True)
        order = rows.select("pair_id").join(candidates, on="pair_id", maintain_order="left")
        return order.with_columns(score=pl.lit(None, pl.Float64))

    def _vectors(self, pool: Pool, order: pl.DataFrame) -> Floats:
        """(n, d) or (n, 2d) vectors whose cosine is how close two pairs are."""
        known = pool.embeddings[self.embeddings]
        sides = ("chosen_id", "rejected_id") if self.compare == "both" else ("chosen_id",)
        return np.concatenate([_unit(known.rows(order[side].to_list())) for side in sides], axis=1)

    def _limit(self) -> float:
        return self.threshold if self.threshold < 1 else np.inf  # in float32 a cosine of 1 can come out larger

    def _check_size(self, count: int, cluster: int) -> None:
        if count > self.most:
            what = (
                f"{count} train pairs"
                if self.within is None
                else f"cluster {cluster} of {self.within!r}: {count} pairs"
            )
            raise ValueError(
                f"{what} are more than `most` ({self.most}); compare `within` (more) clusters, or raise it"
            )


def _unit(matrix: Floats) -> Floats:
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(norms == 0, 1, norms), dtype=np.float32)


def _clusters(pool: Pool, order: pl.DataFrame, name: str) -> NDArray[np.int64]:
    """(n,) cluster of each pair's chosen completion."""
    table = pool.clusters[name].select(chosen_id="id", cluster="cluster")
    found = order.select("pair_id", "chosen_id").join(table, on="chosen_id", how="left", maintain_order="left")
    absent = found.filter(pl.col("cluster").is_null())["chosen_id"]
    if len(absent):
        raise ValueError(
            f"{len(absent)} completions are in no cluster of {name!r}, e.g. {absent.head(3).to_list()}; "
            "materialize the clusters again"
        )
    return found["cluster"].to_numpy().astype(np.int64)


def _members(place: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows of each cluster, in order."""
    order = np.argsort(place, kind="stable")
    return [rows for rows in np.split(order, np.flatnonzero(np.diff(place[order])) + 1) if len(rows)]


def _reasons(order: pl.DataFrame, near: NDArray[np.int64], cosine: Floats) -> pl.DataFrame:
    """The candidates, those kept first, with why."""
    ids = order["pair_id"]
    to = [ids[row] if row >= 0 else None for row in near.tolist()]
    frame = order.select("pair_id", "score").with_columns(
        selected=pl.Series(near < 0), near=pl.Series(to, dtype=pl.String), cosine=pl.Series(cosine)
    )
    detail = pl.format("duplicate: cosine {} to {}", pl.col("cosine").round(4), "near")
    reason = (
        pl.when("selected").then(pl.lit("selected: different enough from every pair kept before")).otherwise(detail)
    )
    frame = frame.with_columns(reason=reason).sort("selected", descending=True, maintain_order=True)
    return frame.select("pair_id", "score", "selected", "reason")
