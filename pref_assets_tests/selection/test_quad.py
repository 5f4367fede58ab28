from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pref_assets.pairs.schema import CLUSTERS
from pref_assets.pool import Pool, Vectors
from pref_assets.scoring import Influence, OneStepInfluence
from pref_assets.scoring.gradients import Probe
from pref_assets.selection import Quad
from pref_assets.selection.quad import upper_confidence
from pref_assets_tests.scoring.gradients.pools import linear_pool
from pref_assets_tests.selection.invariants import assert_promises

INFLUENCE = Influence(embeddings="e")


@pytest.fixture(scope="module")
def pool() -> Pool:
    return clustered(linear_pool(240, 6, trusted=40, held_out=10)[0], 8)


def clustered(pool: Pool, k: int, *, unit: str = "pair_id") -> Pool:
    """Clusters by rank of influence: cluster 0 holds the worst pairs, the last the best."""
    train = pool.candidates()
    influence = Influence(embeddings="e").probe(pool)(train)
    rank = np.argsort(np.argsort(influence, kind="stable"), kind="stable")
    table = CLUSTERS.frame(
        {"id": id_, "cluster": int(place * k // len(train)), "distance": 0.0}
        for id_, place in zip(train[unit], rank, strict=True)
    )
    return replace(pool, clusters={"topics": table})


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pairs that are measured, in order, from now on."""
    calls: list[str] = []
    plain = Influence.probe

    def probe(self: Influence, pool: Pool) -> Probe:
        measure = plain(self, pool)

        def told(pairs: pl.DataFrame) -> np.ndarray:
            calls.extend(pairs["pair_id"])
            return measure(pairs)

        return told

    monkeypatch.setattr(Influence, "probe", probe)
    return calls


def test_bounds_by_hand() -> None:
    """The card's oracle."""
    means, pulls = np.array([0.5, 0.2, 0.0]), np.array([10.0, 2.0, 1.0])
    np.testing.assert_allclose(upper_confidence(means, pulls, 0.1), [0.5716, 0.3602, 0.2265], atol=5e-5)
    np.testing.assert_allclose(upper_confidence(means, pulls, 1.0), [1.2162, 1.8015, 2.2649], atol=5e-5)


@pytest.mark.parametrize(("alpha", "seldom"), [(0.0, 1), (0.3, 2)])
def test_two_hundred_pulls_of_eight_clusters(alpha: float, seldom: int) -> None:
    """The card's oracle as far as it is stated: without a bonus all 200 go to the best, with .3 most do, and each
    cluster is tried again, the better ones more often. (The card does not say its means.)"""
    means, pulls = np.arange(8) / 8, np.ones(8)
    for _ in range(200):
        pulls[np.argmax(upper_confidence(means, pulls, alpha))] += 1
    assert pulls.min() == seldom
    assert pulls[-1] == (201 if alpha == 0 else 161)
    assert (np.diff(pulls) >= 0).all()


def test_the_best_clusters_are_found_by_measuring_few(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    method = Quad(budget=24, clusters="topics", influence=INFLUENCE, batch=4, alpha=0.05, threshold=0.5)
    decisions = method.select(pool)
    assert len(calls) == len(set(calls)) < len(pool.candidates()) / 3
    measured = decisions.filter(pl.col("score").is_not_null())
    assert set(measured["pair_id"]) == set(calls)
    assert set(decisions.filter(~pl.col("pair_id").is_in(calls))["reason"].str.split(":").list.first()) == {
        "not_measured",
        "held_out",
    }
    cluster = dict(pool.clusters["topics"].select("id", "cluster").iter_rows())
    kept = Counter(cluster[each] for each in decisions.filter("selected")["pair_id"])
    assert kept[7] > 12
    assert kept[0] == 0


def test_the_reasons_are_the_log_of_the_rounds(pool: Pool) -> None:
    decisions = Quad(budget=40, clusters="topics", influence=INFLUENCE, batch=4, alpha=0.1).select(pool)
    log = decisions.filter(pl.col("score").is_not_null()).with_columns(
        round=pl.col("reason").str.extract(r"round (\d+)").cast(pl.Int64),
        cluster=pl.col("reason").str.extract(r"cluster (\d+)").cast(pl.Int32),
        bound=pl.col("reason").str.extract(r"bound (-?[\d.e-]+)").cast(pl.Float64),
        code=pl.col("reason").str.extract(r"^(\w+):"),
    )
    first = log.filter(pl.col("round") == 1)
    assert dict(first["cluster"].value_counts().iter_rows()) == dict.fromkeys(range(8), 4)
    assert first["bound"].null_count() == len(first)
    assert first["score"].to_numpy().std() == pytest.approx(1)  # the unit of influence
    later = log.filter(pl.col("round") > 1)
    assert later.group_by("round").agg(pl.col("cluster").n_unique())["cluster"].max() == 1
    # Replays the bandit from its log: in each round the cluster with the largest bound is sampled.
    means = first.group_by("cluster").agg(pl.col("score").mean()).sort("cluster")["score"].to_numpy().copy()
    pulls = np.ones(8)
    for (_, cluster), rows in later.sort("round").group_by("round", "cluster", maintain_order=True):
        bounds = upper_confidence(means, pulls, 0.1)
        open_clusters = [c for c in range(8) if pulls[c] * 4 < 30]
        assert cluster == max(open_clusters, key=lambda c: bounds[c])
        assert rows["bound"][0] == pytest.approx(bounds[cluster], rel=1e-3)
        pulls[cluster] += 1
        means[cluster] += (rows["score"].mean() - means[cluster]) / pulls[cluster]
    assert set(log.filter(pl.col("score") <= 0)["code"]) == {"below_threshold"}
    assert set(log.filter("selected")["code"]) == {"selected"}


def test_a_threshold_that_nothing_reaches_fills_the_budget_with_the_best(pool: Pool) -> None:
    decisions = Quad(budget=30, clusters="topics", influence=INFLUENCE, batch=8, threshold=1e9).select(pool)
    assert decisions["score"].drop_nulls().len() == 240
    kept = decisions.filter("selected")
    assert kept["reason"].str.starts_with("filled: round").all()
    best = decisions.drop_nulls("score").sort("score", descending=True).head(30)
    assert set(kept["pair_id"]) == set(best["pair_id"])


def test_decay_forgets_old_samples() -> None:
    """With decay near 0 a mean is the last sample's, with 1 the mean of all."""
    base, _ = linear_pool(60, 4, trusted=20)
    pool = replace(
        base,
        clusters={
            "topics": CLUSTERS.frame({"id": id_, "cluster": 0, "distance": 0.0} for id_ in base.candidates()["pair_id"])
        },
    )
    for decay in (1.0, 1e-9):
        method = Quad(budget=60, clusters="topics", influence=INFLUENCE, batch=20, decay=decay, alpha=0, threshold=-1e9)
        log = method.select(pool).drop_nulls("score")
        rounds = log.with_columns(round=pl.col("reason").str.extract(r"round (\d+)").cast(pl.Int64))
        means = rounds.group_by("round").agg(pl.col("score").mean()).sort("round")["score"]
        third = rounds.filter(pl.col("round") == 3)["reason"].str.extract(r"bound (-?[\d.e-]+)").cast(pl.Float64)[0]
        assert third == pytest.approx(means[:2].mean() if decay == 1 else means[1], rel=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"budget": 30},
        {"budget": "25%", "alpha": 1.0, "batch": 3, "arms": 3},
        {"budget": 1.0, "seed": 4},
        {"budget": 100, "influence": OneStepInfluence(reward_model="rm"), "batch": 7, "decay": 0.5},
        {"budget": 5, "threshold": 0.5},
    ],
)
def test_promises(pool: Pool, settings: dict[str, object]) -> None:
    assert_promises(Quad.model_validate({"clusters": "topics", "influence": INFLUENCE, **settings}), pool)


def test_clusters_of_completions_count_by_the_chosen_one(pool: Pool) -> None:
    method = Quad(budget=30, clusters="topics", influence=INFLUENCE)
    of_chosen = clustered(pool, 8, unit="chosen_id")
    left, right = method.select(pool), assert_promises(method, of_chosen)
    assert left["selected"].to_list() == right["selected"].to_list()


def test_a_budget_in_tokens_is_filled_until_nothing_fits(pool: Pool) -> None:
    vectors = pool.embeddings["e"]
    counts = np.random.default_rng(0).integers(5, 50, len(vectors.ids))
    counted = replace(pool, embeddings={"e": Vectors(vectors.ids, vectors.matrix, counts)})
    method = Quad(budget="900 tokens", counted_by="e", clusters="topics", influence=INFLUENCE, batch=4)
    kept = assert_promises(method, counted).filter("selected").join(pool.pairs, on="pair_id")
    spent = counted.embeddings["e"].tokens(kept["chosen_id"].to_list() + kept["rejected_id"].to_list()).sum()
    assert 890 <= spent <= 900


def test_pairs_without_a_cluster_and_missing_trust_are_refused(pool: Pool) -> None:
    method = Quad(budget=30, clusters="topics", influence=INFLUENCE)
    table = pool.clusters["topics"].sort("id")
    with pytest.raises(ValueError, match="3 of 240 train pairs have no cluster in 'topics'"):
        method.select(replace(pool, clusters={"topics": table[3:]}))
    with pytest.raises(ValueError, match="validation"):
        method.select(replace(pool, pairs=pool.pairs.filter(pl.col("split") != "validation")))
    with pytest.raises(ValueError, match="budget of 500 pairs"):
        method.model_copy(update={"budget": Quad(budget=500, clusters="c", influence=INFLUENCE).budget}).select(pool)
    named = {(each.stage, each.name) for each in method.references()}
    assert named == {("clusters", "topics"), ("embeddings", "e")}
