"""A bandit over clusters that looks for influential pairs without measuring them all."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.scoring.gradients import Influence, OneStepInfluence, Probe
from pref_assets.selection.base import decide
from pref_assets.selection.budget import Budgeted
from pref_assets.settings import ClustersName

Floats = NDArray[np.float64]


class Quad(Budgeted):
    """Quad: Zhang et al., "Harnessing Diversity for Important Data Selection" (arXiv:2409.16986): clusters are arms of
    a bandit; the best by mean influence plus a bonus for being little known is sampled, and what is good in the sample
    is kept.

    Every cluster is sampled once; then each round takes the ``arms`` clusters with the largest upper confidence bound
    I + alpha sqrt(2 ln(sum T) / T), T counting how often a cluster was sampled, measures ``batch`` pairs of each that
    nobody measured yet, and keeps those above ``threshold`` until the budget is full. Higher influence lowers the loss
    on the `validation` pairs; influences are in units of their standard deviation over the first samples, so that
    alpha and threshold mean the same on any data. Pairs never sampled are never measured.

    [choice] The mean of a cluster follows its samples' means with weights that decay by ``decay`` a sample (1: the
    plain mean). [choice] When all is measured and too little lies above the threshold, the best of the rest fill the
    budget (`filled`): the subset is never smaller than asked. Clusters are of pairs, or of completions, where the
    chosen one counts. O(measured · d) beyond what the influence needs once.
    """

    type: Literal["quad"] = "quad"
    clusters: ClustersName
    """Clusters of the pairs or of the completions."""
    influence: Annotated[Influence | OneStepInfluence, Field(discriminator="type")]
    """What is measured of a pair, e.g. `{type: influence, embeddings: minilm}`."""
    alpha: float = Field(default=0.1, ge=0)
    """Weight of the bonus for clusters seldom sampled; 0 only follows the mean."""
    batch: int = Field(default=16, ge=1)
    """Pairs measured when a cluster is sampled; fewer when it has no more."""
    arms: int = Field(default=1, ge=1)
    """Clusters sampled in a round."""
    threshold: float = 0.0
    """Pairs with more influence than this are kept."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """Factor by which an old sample of a cluster counts less at each new one."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; ``score`` is the influence of the pairs that were measured, null for the others. The
        reasons are the log: round, cluster and its bound, influence.

        Raises:
            ValueError: a train pair has no cluster, there is no validation pair, or the budget is larger than the pool.
        """
        count = self.most(pool)
        candidates = pool.candidates()
        if candidates.is_empty():
            return decide(pool, pl.DataFrame(schema=_ORDER))
        arms = _arms(pool, candidates, self.clusters, self.seed)
        search = _Search(self, pool, candidates, self.influence.probe(pool), arms)
        search.run(count)
        return decide(pool, self._order(pool, candidates, search))

    def _order(self, pool: Pool, candidates: pl.DataFrame, search: "_Search") -> pl.DataFrame:
        ids = candidates["pair_id"].to_list()
        seen = sorted(search.sampled, key=lambda row: (-search.sampled[row].influence, search.place[row]))
        kept, rest = search.kept, set(search.kept)
        unseen = sorted(set(range(len(ids))) - set(search.sampled), key=lambda row: search.place[row])
        rows = [*kept, *(row for row in seen if row not in rest), *unseen]
        taken = self.take(pool, [ids[row] for row in rows]).tolist()
        reasons = [self._reason(search, row, row in rest, took) for row, took in zip(rows, taken, strict=True)]
        scores = [search.sampled[row].influence if row in search.sampled else None for row in rows]
        columns = {"pair_id": [ids[row] for row in rows], "score": scores, "selected": taken, "reason": reasons}
        return pl.DataFrame(columns, schema=_ORDER)

    def _reason(self, search: "_Search", row: int, above: bool, taken: bool) -> str:
        cluster = search.cluster_of[row]
        if row not in search.sampled:
            told = f"cluster {search.names[cluster]} was sampled {int(search.pulls[cluster])} times"
            return f"filled: not measured, {told}" if taken else f"not_measured: {told}"
        sample = search.sampled[row]
        bound = "first sample" if sample.bound is None else f"bound {sample.bound:.4g}"
        log = f"round {sample.round}, cluster {search.names[cluster]} ({bound}), influence {sample.influence:.4g}"
        if taken:
            return f"selected: {log}" if above else f"filled: {log}"
        return f"over_budget: {log}" if above else f"below_threshold: {log}"


_ORDER = {"pair_id": pl.String, "score": pl.Float64, "selected": pl.Boolean, "reason": pl.String}


@dataclass(frozen=True)
class _Sample:
    round: int
    bound: float | None
    influence: float


@dataclass
class _Search:
    """The rounds of the bandit. Rows are places among the candidates; arms are (name, rows in the order to sample)."""

    method: Quad
    pool: Pool
    candidates: pl.DataFrame
    probe: Probe
    arms: list[tuple[int, list[int]]]
    kept: list[int] = field(default_factory=list)
    sampled: dict[int, _Sample] = field(default_factory=dict)
    unit: float = 1.0

    def __post_init__(self) -> None:
        self.names = [name for name, _ in self.arms]
        self.left = [list(reversed(rows)) for _, rows in self.arms]
        self.cluster_of = {row: arm for arm, (_, rows) in enumerate(self.arms) for row in rows}
        self.place = {row: place for _, rows in self.arms for place, row in enumerate(rows)}
        self.pulls = np.zeros(len(self.arms))
        self.means = np.zeros(len(self.arms))
        self.weights = np.zeros(len(self.arms))
        self.costs = self.method.costs(self.pool, self.candidates["pair_id"].to_list())

    def run(self, count: int) -> None:
        """Samples until the budget, ``count`` pairs or the tokens, is full or nothing is left to measure."""
        full = self.method.budget.tokens or count
        self._first_round()
        number = 1
        while self.costs[self.kept].sum() < full:
            open_arms = [arm for arm, rows in enumerate(self.left) if rows]
            if not open_arms:
                return
            number += 1
            bounds = upper_confidence(self.means, self.pulls, self.method.alpha)
            best = sorted(open_arms, key=lambda arm: (-bounds[arm], arm))[: self.method.arms]
            drawn = [self._draw(arm) for arm in best]
            self._learn(number, best, drawn, self._measure(drawn), bounds)

    def _first_round(self) -> None:
        every = list(range(len(self.arms)))
        drawn = [self._draw(arm) for arm in every]
        measured = self._measure(drawn)
        spread = float(np.concatenate(measured).std())
        self.unit = spread if spread > 0 else 1.0
        self._learn(1, every, drawn, [values / self.unit for values in measured], None)

    def _draw(self, arm: int) -> list[int]:
        return [self.left[arm].pop() for _ in range(min(self.method.batch, len(self.left[arm])))]

    def _measure(self, drawn: list[list[int]]) -> list[Floats]:
        """Influences of the drawn rows of each arm, in units."""
        rows = [row for part in drawn for row in part]
        values = self.probe(self.candidates[rows]) / self.unit
        return np.split(values, np.cumsum([len(part) for part in drawn])[:-1])

    def _learn(
        self, number: int, arms: list[int], drawn: list[list[int]], measured: list[Floats], bounds: Floats | None
    ) -> None:
        for arm, rows, values in zip(arms, drawn, measured, strict=True):
            self.pulls[arm] += 1
            self.weights[arm] = self.method.decay * self.weights[arm] + 1
            self.means[arm] += (values.mean() - self.means[arm]) / self.weights[arm]
            bound = None if bounds is None else float(bounds[arm])
            self.sampled.update(
                {row: _Sample(number, bound, float(value)) for row, value in zip(rows, values, strict=True)}
            )
            above = [row for row, value in zip(rows, values, strict=True) if value > self.method.threshold]
            self.kept += sorted(above, key=lambda row: (-self.sampled[row].influence, self.place[row]))


def upper_confidence(means: Floats, pulls: Floats, alpha: float) -> Floats:
    """means + alpha sqrt(2 ln(sum of pulls) / pulls), (clusters,): what each cluster may at best be worth."""
    bounds: Floats = means + alpha * np.sqrt(2 * np.log(pulls.sum()) / pulls)
    return bounds


def _arms(pool: Pool, candidates: pl.DataFrame, name: str, seed: int) -> list[tuple[int, list[int]]]:
    """Clusters by number, each with its candidates (as places) in an order drawn from the seed."""
    table = pool.clusters[name].select("id", "cluster")
    of_pairs = not candidates.join(table, left_on="pair_id", right_on="id", how="semi").is_empty()
    found = candidates.with_row_index("row").join(
        table, left_on="pair_id" if of_pairs else "chosen_id", right_on="id", how="left", validate="m:1"
    )
    absent = found.filter(pl.col("cluster").is_null())["pair_id"].sort()
    if len(absent):
        raise ValueError(
            f"{len(absent)} of {len(candidates)} train pairs have no cluster in {name!r}, e.g. "
            f"{absent.head(3).to_list()}; materialize the clusters again"
        )
    found = found.with_columns(hash=seeded_hash(found["pair_id"], seed, "quad")).sort("cluster", "hash")
    grouped = found.group_by("cluster", maintain_order=True).agg("row")
    return [(int(cluster), rows) for cluster, rows in grouped.iter_rows()]
