"""Clusters that each choose the score telling most about them, sampled over its whole range, without what repeats."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.selection.deita import REDUNDANT, greedy_filter
from pref_assets.selection.turns import Ints, clusters_of, in_turns, members
from pref_assets.settings import ClustersName, EmbeddingsName, ScoresName, Settings

Floats = NDArray[np.float64]


class ScoreColumn(Settings):
    """One number of a score entry."""

    scores: ScoresName
    """The scores."""
    column: str = "score"
    """Which number of them: a column, or one of their named details."""


class AdaptInfinity(Budgeted):
    """Adapt-infinity: Maharana et al. (arXiv:2410.10636), sections 3.2 and 3.3: every cluster is sampled by the score
    whose distribution there has the largest entropy, and near-duplicates are pruned for good.

    The entropy is of the histogram of z-scores in ``bins`` bins from -``reach`` to ``reach``; of a constant score it is
    0. (The published code takes the range from the raw scores, so that the choice depends on their units.) Inside a
    cluster, CCS (Zheng et al., arXiv:2210.15809): ``cut`` of the pairs at either end come last, the range between is
    parted into ``strata`` of equal width, and these give alike. Clusters share the budget by water-filling; the
    published code rounds shares up and may keep too many.

    Pruning is permanent without a memory: pairs are looked at as they arrived (batch, file, row), and one too close to
    an earlier kept pair of its cluster is out, whatever comes later, as long as the clusters stay (``freeze``). The
    published code drops by the cosine to any earlier pair, kept or not, so that what it drops need not be close to
    anything that stays. Time O(n log n + n · kept of a cluster · d).
    """

    type: Literal["adapt_infinity"] = "adapt_infinity"
    clusters: ClustersName
    """Clusters; the paper's are ``projected_gradients``. Of completions, a pair is where its chosen completion is."""
    scorers: tuple[ScoreColumn, ...] = Field(min_length=1)
    """Scores to choose from; at equal entropy the first one."""
    bins: int = Field(default=50, ge=2)
    """Bins of the histogram; 50 in the published code."""
    reach: float = Field(default=4.0, gt=0)
    """Standard deviations on either side of the mean that the histogram covers."""
    strata: int = Field(default=50, ge=1)
    """Parts of the range of scores that give alike; 50 in the published code."""
    cut: float = Field(default=0.05, ge=0, lt=0.5)
    """Share of a cluster's pairs at either end of the scores that is taken only when nothing else is left."""
    prune_in: EmbeddingsName | None = None
    """Embeddings in which near-duplicates are found, chosen and rejected side by side; no pruning if left out."""
    prune_above: float = Field(default=0.95, ge=-1, le=1)
    """Mean cosine of the two sides to an earlier pair above which a pair is pruned."""
    prune_most: int = Field(default=100_000, ge=1)
    """Most pairs of a cluster to compare with one another; bounds time and memory of pruning."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool.

        Raises:
            ValueError: a train pair has no cluster, finite score or vector, a cluster holds more than ``prune_most``
                pairs, or fewer pairs are left after pruning than the budget asks.
        """
        candidates = pool.candidates()
        clusters = clusters_of(pool, self.clusters, candidates)
        values = np.stack([pool.scored(each.scores, each.column)["score"].to_numpy() for each in self.scorers])
        near = self._redundant(pool, candidates, clusters)
        ids = candidates["pair_id"]
        hashes = seeded_hash(ids, self.seed, "adapt_infinity").to_numpy()
        cells = [self._cell(rows, values, near, hashes) for rows in members(clusters)]
        left = np.concatenate([np.empty(0, dtype=np.int64), *(cell.order for cell in cells)])
        order = left[in_turns(clusters[left])]
        taken = self._taken(pool, ids, order, near)
        chosen = np.empty(len(ids), dtype=np.int64)
        entropy = np.empty(len(ids))
        for cell in cells:
            chosen[cell.rows], entropy[cell.rows] = cell.scorer, cell.entropy
        frame = candidates.select("pair_id").with_columns(
            cluster=pl.Series(clusters),
            score=pl.Series(values[chosen, np.arange(len(ids))]),
            by=pl.Series([_name(self.scorers[each]) for each in chosen], dtype=pl.String),
            entropy=pl.Series(entropy).round(3),
            near=pl.Series([ids[row] if row >= 0 else None for row in near.tolist()], dtype=pl.String),
        )
        frame = frame[np.concatenate([order, np.flatnonzero(near >= 0)])]
        frame = frame.with_columns(selected=pl.Series(taken, dtype=pl.Boolean))
        by = pl.format("cluster {} by {} (entropy {} bits)", "cluster", "by", "entropy")
        reason = (
            pl.when("selected")
            .then(pl.format("selected: {}", by))
            .when(pl.col("near").is_not_null())
            .then(pl.format("pruned: close to {}, which came earlier", "near"))
            .otherwise(pl.format("over_share: {}", by))
        )
        return decide(pool, frame.with_columns(reason=reason).select("pair_id", "score", "selected", "reason"))

    def _taken(self, pool: Pool, ids: pl.Series, order: Ints, near: Ints) -> NDArray[np.bool_]:
        """Which of the pairs in this order, the pruned ones behind them, are kept."""
        pruned = int((near >= 0).sum())
        if self.budget.tokens is None and self.most(pool) > len(order):
            raise ValueError(
                f"adapt_infinity: the budget asks for {self.most(pool)} pairs, but {pruned} of {len(ids)} were pruned "
                f"and {len(order)} are left; lower the budget or raise `prune_above`"
            )
        return np.concatenate([self.take(pool, ids[order].to_list()), np.zeros(pruned, dtype=bool)])

    def _cell(self, rows: Ints, values: Floats, near: Ints, hashes: NDArray[np.uint64]) -> "_Cell":
        left = rows[near[rows] < 0]
        entropies = [spread(scores[left], self.bins, self.reach) for scores in values]
        scorer = int(np.argmax(entropies))
        shuffled = left[np.argsort(hashes[left], kind="stable")]
        order = shuffled[coverage(values[scorer][shuffled], self.strata, self.cut)]
        return _Cell(rows, order, scorer, entropies[scorer])

    def _redundant(self, pool: Pool, candidates: pl.DataFrame, clusters: Ints) -> Ints:
        """For each pair the earlier kept one of its cluster that it is too close to, (n,), else -1."""
        near = np.full(len(candidates), -1, dtype=np.int64)
        if self.prune_in is None or self.prune_above >= 1:
            return near
        arrival, vectors = _arrival(candidates), self._vectors(pool, candidates)
        for inside in members(clusters):
            if len(inside) > self.prune_most:
                raise ValueError(
                    f"cluster {clusters[inside[0]]} of {self.clusters!r}: {len(inside)} pairs are more than "
                    f"`prune_most` ({self.prune_most}) to compare; use more clusters, or raise it"
                )
            rows = inside[np.argsort(arrival[inside], kind="stable")]
            state, first, _ = greedy_filter(vectors[rows], len(rows), self.prune_above, 1024)
            dropped = state == REDUNDANT
            near[rows[dropped]] = rows[first[dropped]]
        return near

    def _vectors(self, pool: Pool, pairs: pl.DataFrame) -> NDArray[np.float32]:
        """(n, 2d) vectors whose cosine is the mean of the cosines of the two sides."""
        assert self.prune_in is not None
        known = pool.embeddings[self.prune_in]
        both = [known.rows(pairs[side].to_list()) for side in ("chosen_id", "rejected_id")]
        norms = [np.linalg.norm(side, axis=1, keepdims=True) for side in both]
        return np.concatenate([side / np.where(norm == 0, 1, norm) for side, norm in zip(both, norms, strict=True)], 1)


@dataclass(frozen=True)
class _Cell:
    """A cluster: its ``rows``, those left in the ``order`` in which they are taken, and the scorer it chose."""

    rows: Ints
    order: Ints
    scorer: int
    entropy: float


def spread(scores: Floats, bins: int, reach: float) -> float:
    """Entropy in bits of the histogram of z-scores in ``bins`` bins from -``reach`` to ``reach``; 0 for a constant."""
    if not len(scores):
        return 0.0
    moved = scores - scores.mean()
    deviation = moved.std()
    if deviation <= 1e-12 * np.abs(scores).max():
        return 0.0
    counts = np.histogram(moved / deviation, bins=bins, range=(-reach, reach))[0]
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def coverage(scores: Floats, strata: int, cut: float) -> Ints:
    """An order (n,) of rows in which ``strata`` parts of the range of scores take turns, their rows as they come; a
    share ``cut`` at either end of the range comes last, nearest the middle first (coverage-centric selection)."""
    tail = int(cut * len(scores))
    by_score = np.argsort(scores, kind="stable")
    inside = np.sort(by_score[tail : len(scores) - tail])
    outside = by_score[np.r_[:tail, len(scores) - tail : len(scores)]]
    low, high = (scores[inside].min(), scores[inside].max()) if len(inside) else (0.0, 0.0)
    width = (high - low) / strata
    stratum = np.minimum((scores[inside] - low) / width, strata - 1) if width > 0 else np.zeros(len(inside))
    turns = inside[in_turns(stratum.astype(np.int64))]
    middle = (low + high) / 2
    return np.concatenate([turns, outside[np.argsort(np.abs(scores[outside] - middle), kind="stable")]])


def _arrival(pairs: pl.DataFrame) -> Ints:
    """Place of each pair, (n,), in the order in which their first rows came: by batch, file and row."""
    rows = pairs.select("pair_id", "provenance").explode("provenance").unnest("provenance")
    rows = rows.sort("batch", "uri", "row", "pair_id").unique("pair_id", keep="first", maintain_order=True)
    places = rows.select("pair_id").with_row_index("place")
    joined = pairs.select("pair_id").join(places, on="pair_id", how="left", maintain_order="left")
    return joined["place"].to_numpy().astype(np.int64)


def _name(scorer: ScoreColumn) -> str:
    return scorer.scores if scorer.column == "score" else f"{scorer.scores}.{scorer.column}"
