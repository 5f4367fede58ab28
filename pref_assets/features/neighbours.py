"""How far a pair's nearest neighbours are."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Vectors, seeded_hash
from pref_assets.settings import EmbeddingsName, Settings

Floats = NDArray[np.float32]
_SPARE = 8
"""Neighbours looked at beyond the k nearest, as distances by way of a product are rounded."""


class NearestNeighbours(Settings):
    """How the distance of a pair to its k-th nearest neighbour is measured."""

    embeddings: EmbeddingsName
    """Embeddings in which pairs are compared."""
    compare: Literal["chosen", "both"] = "chosen"
    """By the `chosen` completion, or `both`, each with its like."""
    unit: bool = True
    """Scale vectors to unit length first, so that distances are those of cosines."""
    k: int = Field(default=5, ge=1, le=1000)
    """Which nearest neighbour."""
    guard: float = Field(default=1e-3, gt=0)
    """Added to the distance before its logarithm: two equal vectors are 0 apart. In units of the distance."""
    among: int = Field(default=20_000, ge=2)
    """Most train pairs that neighbours are looked for among, a seeded sample where there are more; bounds the work."""
    sample_seed: int = Field(default=0, ge=0)
    """Seed of that sample."""

    def distances(self, pairs: pl.DataFrame, vectors: Vectors) -> NDArray[np.float64]:
        """(n,) distance of each pair, in their order, to its k-th nearest among the train pairs, itself left out.

        O(n · min(n, among) · d).

        Raises:
            ValueError: a pair has no finite vector, or there are no more than ``k`` train pairs.
        """
        train = pairs.with_row_index("row").filter(pl.col("split") == "train").select("row", "pair_id")
        drawn = train.with_columns(hash=seeded_hash(train["pair_id"], self.sample_seed, "neighbours")).sort("hash")
        rows = drawn.head(self.among).sort("pair_id")["row"].to_numpy()
        if len(rows) <= self.k:
            raise ValueError(f"{len(rows)} train pairs are too few for a {self.k}-th nearest neighbour; lower `k`")
        places = self._places(pairs, vectors)
        own = np.full(len(pairs), -1, dtype=np.int64)
        own[rows] = np.arange(len(rows))
        return kth_distances(places, places[rows], own, self.k)

    def terms(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) log(distance + guard)."""
        found: NDArray[np.float64] = np.log(distances + self.guard)
        return found

    def _places(self, pairs: pl.DataFrame, vectors: Vectors) -> Floats:
        """(n, d) vectors of the chosen completions, or (n, 2d) of both side by side."""
        sides = ("chosen_id", "rejected_id") if self.compare == "both" else ("chosen_id",)
        parts = [vectors.rows(pairs[side].to_list()) for side in sides]
        if self.unit:
            norms = [np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
            parts = [
                np.asarray(part / np.where(norm > 0, norm, 1), dtype=np.float32)
                for part, norm in zip(parts, norms, strict=True)
            ]
        return np.concatenate(parts, axis=1).astype(np.float32)


def kth_distances(
    queries: Floats, points: Floats, own: NDArray[np.int64], k: int, block: int = 512
) -> NDArray[np.float64]:
    """(n,) Euclidean distance of each query (n, d) to its k-th nearest point (m, d); ``own[i]`` is the point that is
    query ``i`` itself and no neighbour, -1 for none.

    Exact: found by products in float32, measured again in float64. Time O(n · m · d), memory O(block · m).

    Raises:
        ValueError: fewer than ``k`` points beside the query itself.
    """
    count = min(k + _SPARE, len(points))
    if len(points) - (1 if (own >= 0).any() else 0) < k:
        raise ValueError(f"{len(points)} vectors are too few for a {k}-th nearest neighbour; lower k")
    middle = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    shifted = points - middle
    lengths = np.einsum("md,md->m", shifted, shifted)
    found = np.empty(len(queries))
    for start in range(0, len(queries), block):
        rows = slice(start, min(start + block, len(queries)))
        near = lengths - 2 * ((queries[rows] - middle) @ shifted.T)  # the query's own length changes no order
        mine = np.flatnonzero(own[rows] >= 0)
        near[mine, own[rows][mine]] = np.inf
        places = np.argpartition(near, count - 1, axis=1)[:, :count]
        gaps = points[places].astype(np.float64) - queries[rows][:, None, :]
        squares = np.einsum("nkd,nkd->nk", gaps, gaps)
        squares[places == own[rows][:, None]] = np.inf
        found[rows] = np.sqrt(np.partition(squares, k - 1, axis=1)[:, k - 1])
    return found
