"""Score first, diversity aware: down the list by score, past what is too close to something already kept."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.selection.base import decide, ranked
from pref_assets.selection.budget import Budgeted
from pref_assets.settings import EmbeddingsName, ScoresName

Floats = NDArray[np.float32]
KEPT, UNSEEN, REDUNDANT = 1, 0, -1
KEPT_BLOCK = 1024  # products stay in the cache, and rows that meet a neighbour in one block skip the next


class Deita(Budgeted):
    """DEITA: Liu et al., "What Makes Good Data for Alignment?" (arXiv:2312.15685), section 2.4.

    Pairs are visited from the best score down; one is kept when the largest cosine similarity of its chosen
    completion to those kept before is at most ``threshold``, until the budget is reached. The published code agrees
    for a filter batch of 1; its larger batches also reject what is near to a row that was itself rejected, and give
    other results. This version works in blocks and equals the row by row definition for every block size.
    """

    type: Literal["deita"] = "deita"
    quality: ScoresName
    """Scores to rank by."""
    column: str = "score"
    """Which number of the scores: a column (`score` is the margin of most), or one of their named details."""
    embeddings: EmbeddingsName
    """Embeddings in which pairs are compared, by their chosen completion."""
    threshold: float = Field(default=0.9, ge=-1, le=1)
    """Largest cosine similarity to a kept pair; 0.9 in the paper, 1 turns the filter off."""
    fill: bool = True
    """When too few are different enough: fill up with the best of the others (`filled`), or stop short (false)."""
    block: int = Field(default=1024, ge=1)
    """Pairs compared at once; changes speed, never the result."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool. Time O(n · kept · d), memory O(block · kept).

        Raises:
            ValueError: a train pair has no finite score or vector, or the budget is larger than the pool.
        """
        order = ranked(pool.scored(self.quality, self.column), self.seed)
        count = self.most(pool)
        vectors = pool.embeddings[self.embeddings].rows(order["chosen_id"].to_list())
        threshold = self.threshold if self.threshold < 1 else np.inf  # in float32 a cosine of 1 can come out larger
        state, near, cosine = greedy_filter(vectors, count, threshold, self.block)
        ids = order["pair_id"].to_list()
        order = order.select("pair_id", "score").with_columns(
            state=pl.Series(state),
            near=pl.Series([ids[row] if row >= 0 else None for row in near.tolist()], dtype=pl.String),
            cosine=pl.Series(cosine),
        )
        return decide(pool, self._reasons(pool, order))

    def _reasons(self, pool: Pool, order: pl.DataFrame) -> pl.DataFrame:
        kept, redundant = pl.col("state") == KEPT, pl.col("state") == REDUNDANT
        # In the order in which they would be taken: the filter's picks, then what fills up, then what it never saw.
        place = pl.when(kept).then(0).when(redundant).then(1).otherwise(2)
        order = order.sort(place, maintain_order=True)
        taken = pl.Series(self.take(pool, order["pair_id"].to_list()), dtype=pl.Boolean)
        order = order.with_columns(kept=kept & taken, filled=~kept & taken & self.fill)
        detail = pl.format("cosine {} to {}", pl.col("cosine").round(4), "near")
        reason = (
            pl.when("kept")
            .then(pl.lit("selected: best of those different enough"))
            .when(pl.col("filled") & redundant)
            .then(pl.format("filled: {}", detail))
            .when("filled")  # a budget in tokens: the filter stopped at the most pairs, not at the last token
            .then(pl.lit("filled: fits in the tokens left"))
            .when(redundant)
            .then(pl.format("redundant: {}", detail))
            .otherwise(pl.lit("below_cut: the budget was reached before it"))
        )
        order = order.with_columns(selected=pl.col("kept") | pl.col("filled"), reason=reason)
        return order.select("pair_id", "score", "selected", "reason")


def greedy_filter(
    vectors: Floats, count: int, threshold: float, block: int
) -> tuple[NDArray[np.int8], NDArray[np.int64], Floats]:
    """What the greedy filter does with each row of ``vectors`` (n, d), visited from the first to the last.

    Returns:
        (n,) state: ``KEPT``, ``REDUNDANT``, or ``UNSEEN`` when ``count`` rows were kept before it;
        (n,) the first kept row a redundant row is too close to, else -1; (n,) the cosine to it, else 0.
        A row of zeros has cosine 0 to everything.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.asarray(vectors / np.where(norms == 0, 1, norms), dtype=np.float32)
    state = np.full(len(unit), UNSEEN, dtype=np.int8)
    near = np.full(len(unit), -1, dtype=np.int64)
    cosine = np.zeros(len(unit), dtype=np.float32)
    kept = np.empty(0, dtype=np.int64)
    packed = np.empty((count, unit.shape[1]), dtype=np.float32)
    for start in range(0, len(unit), block):
        if len(kept) == count:
            break
        rows = np.arange(start, min(start + block, len(unit)))
        rows = _far_from_kept(unit, rows, kept, packed, threshold, near, cosine)
        taken, last = _resolve(unit, rows, count - len(kept), threshold, near, cosine)
        seen = np.arange(start, last + 1 if last is not None else min(start + block, len(unit)))
        state[seen] = REDUNDANT
        state[taken] = KEPT
        packed[len(kept) : len(kept) + len(taken)] = unit[taken]
        kept = np.concatenate([kept, taken])
    unseen = state == UNSEEN
    near[unseen], cosine[unseen] = -1, 0
    return state, near, cosine


def _far_from_kept(
    unit: Floats,
    rows: NDArray[np.int64],
    kept: NDArray[np.int64],
    packed: Floats,
    threshold: float,
    near: NDArray[np.int64],
    cosine: Floats,
) -> NDArray[np.int64]:
    """The rows not too close to any kept row; for the others, notes the first kept row that is in the way."""
    for start in range(0, len(kept), KEPT_BLOCK):
        similar = unit[rows] @ packed[start : min(start + KEPT_BLOCK, len(kept))].T
        close = similar > threshold
        first = close.argmax(axis=1)
        hit = close[np.arange(len(rows)), first]
        near[rows[hit]] = kept[start + first[hit]]
        cosine[rows[hit]] = similar[hit, first[hit]]
        rows = rows[~hit]
    return rows


def _resolve(
    unit: Floats, rows: NDArray[np.int64], room: int, threshold: float, near: NDArray[np.int64], cosine: Floats
) -> tuple[NDArray[np.int64], int | None]:
    """The rows to keep among ``rows`` themselves, in order, and the row that took the last room, if one did."""
    similar = unit[rows] @ unit[rows].T
    close = np.triu(similar > threshold, 1)
    near_later = np.asarray(close.any(axis=1))
    alive = np.ones(len(rows), dtype=bool)
    taken: list[int] = []
    for i in range(len(rows)):
        if not alive[i]:
            continue
        taken.append(i)
        if len(taken) == room:
            return rows[taken], int(rows[i])
        if not near_later[i]:
            continue
        hit = np.flatnonzero(close[i, i + 1 :] & alive[i + 1 :]) + i + 1
        alive[hit] = False
        near[rows[hit]], cosine[rows[hit]] = rows[i], similar[i, hit]
    return rows[taken], None
