from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool, Vectors
from pref_assets.selection import AdaptInfinity
from pref_assets.selection.adapt_infinity import coverage, spread
from pref_assets_tests.selection.clustered import clustered_pool, shares
from pref_assets_tests.selection.invariants import assert_promises


def adapt(budget: int | str, *scores: str, **more: object) -> AdaptInfinity:
    scorers = [{"scores": each} for each in scores or ("strength",)]
    return AdaptInfinity.model_validate({"budget": budget, "clusters": "topics", "scorers": scorers, **more})


def scored(pool: Pool, **values: np.ndarray) -> Pool:
    ids = pool.pairs["pair_id"].sort().to_list()
    tables = {
        name: PAIR_SCORES.frame({"pair_id": i, "score": float(v)} for i, v in zip(ids, column, strict=True))
        for name, column in values.items()
    }
    return replace(pool, scores={**pool.scores, **tables})


def test_promises() -> None:
    for unit in ("pair", "completion"):
        pool = clustered_pool([30, 9, 3, 1], unit=unit)
        for budget in (1, 7, "50%", "100%"):
            assert_promises(adapt(budget), pool)
            assert_promises(adapt(budget, prune_in="minilm", prune_above=0.99), pool)


def test_budget_oracle() -> None:
    pool = clustered_pool([10, 100, 1000])
    assert shares(pool, adapt(300).select(pool)) == [10, 100, 190]


@pytest.mark.parametrize("unit", [0.05, 0.2, 1, 5, 20])
def test_entropy_does_not_depend_on_the_unit(unit: float) -> None:
    """The published range, four times the deviation of the raw scores, gives 5.52, 5.57, 4.62, 2.35 and .58 here."""
    scores = np.random.default_rng(0).normal(size=2000)
    assert spread(unit * scores, 50, 4.0) == pytest.approx(spread(scores, 50, 4.0), abs=1e-9)
    assert spread(scores, 50, 4.0) == pytest.approx(4.6, abs=0.1)


def test_entropy_by_hand() -> None:
    assert spread(np.array([-1.0, 1.0, -1.0, 1.0]), 50, 4.0) == 1
    assert spread(np.full(7, 0.3), 50, 4.0) == 0
    assert spread(np.array([2.0]), 50, 4.0) == 0


@pytest.mark.parametrize("factor", [0.05, 20])
def test_each_cluster_chooses_the_score_that_tells_most(factor: float) -> None:
    pool = clustered_pool([60, 60], held_out=0)
    rng = np.random.default_rng(1)
    flat, two = rng.uniform(size=120), rng.integers(0, 2, size=120).astype(float)
    first = np.where(np.arange(120) < 60, flat, two)
    second = np.where(np.arange(120) < 60, two, flat)
    pool = scored(pool, first=factor * first, second=second)
    reasons = (
        adapt("50%", "first", "second").select(pool).join(pool.clusters["topics"], left_on="pair_id", right_on="id")
    )
    by = reasons.select("cluster", by=pl.col("reason").str.extract(r" by (\w+) \(")).unique().sort("cluster")
    assert by.rows() == [(0, "first"), (1, "second")]


def test_coverage_takes_equal_counts_of_every_stratum() -> None:
    scores = np.random.default_rng(0).permutation(np.linspace(0, 1, 5000))
    order = coverage(scores, 50, 0.05)
    assert sorted(order.tolist()) == list(range(5000))
    kept = scores[order[:1000]]
    counts = np.histogram(kept, bins=50, range=(0.05, 0.95))[0]
    assert counts.min() >= 19
    assert counts.max() <= 21
    assert set(np.flatnonzero((scores < 0.049) | (scores > 0.951))) <= set(order[4500:].tolist())


def test_coverage_of_a_constant() -> None:
    assert sorted(coverage(np.ones(10), 50, 0.05).tolist()) == list(range(10))


def with_vectors(pool: Pool, chosen: np.ndarray) -> Pool:
    ids = pool.pairs["pair_id"].sort().to_list()
    vectors = Vectors([f"{side}{i}" for side in "cr" for i in ids], np.concatenate([chosen, chosen]).astype(np.float32))
    return replace(pool, embeddings={"minilm": vectors})


def test_of_duplicates_the_first_to_arrive_survives() -> None:
    pool = clustered_pool([6], held_out=0)
    angles = np.array([0, 0, 0, 1, 1, 2])
    pool = with_vectors(pool, np.stack([np.cos(angles), np.sin(angles)], axis=1))
    decisions = adapt(3, prune_in="minilm", prune_above=0.95).select(pool)
    assert decisions.filter("selected")["pair_id"].to_list() == ["p0000", "p0003", "p0005"]
    assert decisions.filter(pair_id="p0002")["reason"].item() == "pruned: close to p0000, which came earlier"
    with pytest.raises(ValueError, match="asks for 4 pairs, but 3 of 6 were pruned and 3 are left"):
        adapt(4, prune_in="minilm", prune_above=0.95).select(pool)


def test_later_pairs_never_change_what_is_pruned() -> None:
    rng = np.random.default_rng(3)
    chosen = rng.normal(size=(60, 3))
    pruned = []
    for n in (40, 60):
        pool = with_vectors(clustered_pool([n], held_out=0), chosen[:n])
        reasons = (
            adapt(1, prune_in="minilm", prune_above=0.9).select(pool).filter(pl.col("reason").str.starts_with("pruned"))
        )
        pruned.append({id_ for id_ in reasons["pair_id"].to_list() if id_ < "p0040"})
    assert len(pruned[0]) > 5
    assert pruned[0] == pruned[1]


def test_tokens_are_spent_on_pairs_that_were_not_pruned() -> None:
    pool = clustered_pool([6], held_out=0, tokens=5)
    vectors = with_vectors(pool, np.repeat(np.eye(3), 2, axis=0)).embeddings["minilm"]
    pool = replace(pool, embeddings={"minilm": Vectors(vectors.ids, vectors.matrix, np.full(12, 5))})
    budgeted = {"counted_by": "minilm", "prune_in": "minilm"}
    assert adapt("25 tokens", **budgeted).select(pool)["selected"].sum() == 2
    with pytest.raises(ValueError, match="budget of 40 tokens, but the candidates have only 30"):
        adapt("40 tokens", **budgeted).select(pool)


def test_bad_inputs() -> None:
    pool = clustered_pool([5])
    with pytest.raises(ValueError, match="cluster 0 of 'topics': 5 pairs are more than `prune_most` "):
        adapt(2, prune_in="minilm", prune_most=3).select(pool)
    with pytest.raises(ValueError, match="no usable 'score' in scores 'strength'"):
        adapt(2).select(replace(pool, scores={"strength": pool.scores["strength"].filter(pl.col("pair_id") > "p0001")}))
