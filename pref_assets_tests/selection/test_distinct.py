from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pref_assets.pairs.schema import CLUSTERS, DECISIONS, PROVENANCE
from pref_assets.selection import Pool, Vectors
from pref_assets.selection.distinct import Distinct
from pref_assets_tests.selection.pools import make_pool, selected, shuffled


def distinct(**settings: Any) -> Distinct:
    return Distinct(embeddings="minilm", **settings)


def angles(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def with_sides(pool: Pool, rejected: np.ndarray) -> Pool:
    """The pool with vectors of its rejected completions too."""
    known = pool.embeddings["minilm"]
    ids = [*known.ids, *(f"r{id_[1:]}" for id_ in known.ids)]
    vectors = Vectors(ids, np.concatenate([known.matrix, rejected.astype(np.float32)]))
    return Pool(pool.pairs, pool.completions, pool.scores, {"minilm": vectors}, pool.clusters)


def test_a_pair_near_to_a_kept_one_goes_and_the_reason_names_it() -> None:
    """Cosines: 10 degrees 0.9848, 20 degrees 0.9397. The third is near only to the second, which is gone."""
    decisions = distinct(compare="chosen").select(make_pool([0.0] * 3, vectors=angles(0, 10, 20)))
    assert selected(decisions) == ["p000", "p002"]
    assert decisions["reason"].to_list() == [
        "selected: different enough from every pair kept before",
        "duplicate: cosine 0.9848 to p000",
        "selected: different enough from every pair kept before",
    ]


def test_scores_say_who_stays() -> None:
    pool = make_pool([1.0, 3.0, 2.0], vectors=angles(0, 10, 90))
    assert selected(distinct(compare="chosen", quality="strength").select(pool)) == ["p001", "p002"]


def test_without_scores_the_earlier_row_stays() -> None:
    pool = make_pool([1.0, 3.0, 2.0], vectors=angles(0, 10, 5))
    where = [("b", "x", 1), ("a", "z", 2), ("a", "y", 9)]
    rows = [[{"source": "s", "batch": batch, "uri": uri, "row": row}] for batch, uri, row in where]
    pairs = pool.pairs.with_columns(provenance=pl.Series(rows, dtype=PROVENANCE))
    pool = Pool(pairs, pool.completions, pool.scores, pool.embeddings)
    assert selected(distinct(compare="chosen").select(pool)) == ["p002"]


def test_both_sides_count_each_with_its_like() -> None:
    pool = make_pool([0.0] * 3, vectors=angles(0, 0, 90))
    same_answer = with_sides(pool, angles(90, 120, 0))
    # Chosen alike and rejected 30 degrees apart: (1 + 0.866) / 2. Swapped sides are not alike at all.
    assert selected(distinct(threshold=0.94).select(same_answer)) == ["p000", "p001", "p002"]
    decisions = distinct(threshold=0.93).select(same_answer)
    assert decisions["reason"][1] == "duplicate: cosine 0.933 to p000"
    assert selected(decisions) == ["p000", "p002"]


def test_only_pairs_of_a_cluster_meet() -> None:
    pool = make_pool([0.0] * 4, vectors=angles(0, 1, 2, 3))
    clusters = CLUSTERS.frame({"id": f"c{i:03}", "cluster": i % 2, "distance": 0.0} for i in range(4))
    pool = Pool(pool.pairs, pool.completions, pool.scores, pool.embeddings, {"topics": clusters})
    decisions = distinct(compare="chosen", within="topics").select(pool)
    assert selected(decisions) == ["p000", "p001"]
    assert decisions["reason"][3] == "duplicate: cosine 0.9994 to p001"
    with pytest.raises(ValueError, match=r"cluster 0 of 'topics': 2 pairs are more than `most` \(1\)"):
        distinct(compare="chosen", within="topics", most=1).select(pool)
    pool = Pool(pool.pairs, pool.completions, pool.scores, pool.embeddings, {"topics": clusters.head(3)})
    with pytest.raises(ValueError, match=r"1 completions are in no cluster of 'topics', e\.g\. \['c003'\]"):
        distinct(compare="chosen", within="topics").select(pool)


def test_more_pairs_than_may_meet_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"3 train pairs are more than `most` \(2\); compare `within`"):
        distinct(compare="chosen", most=2).select(make_pool([0.0] * 3))


def test_at_threshold_one_all_stay() -> None:
    same = np.ones((3, 8), dtype=np.float32)
    assert len(selected(distinct(compare="chosen", threshold=1).select(make_pool([0.0] * 3, vectors=same)))) == 3


@settings(max_examples=20, deadline=None)
@given(
    places=st.lists(st.floats(0, 90), max_size=20),
    held_out=st.integers(0, 3),
    seed=st.integers(0, 3),
    scored=st.booleans(),
)
def test_invariants(places: list[float], held_out: int, seed: int, scored: bool) -> None:
    pool = make_pool([float(n % 3) for n in range(len(places))], held_out, angles(*places, *[0.0] * held_out))
    method = distinct(compare="chosen", quality="strength" if scored else None, seed=seed)
    decisions = method.select(pool)
    assert decisions.schema == DECISIONS.schema
    assert decisions["pair_id"].to_list() == pool.pairs["pair_id"].sort().to_list()
    kept = selected(decisions)
    assert set(decisions.filter(pl.col("rank").is_null())["reason"]) <= {"held_out"}
    assert decisions.filter(pl.col("reason") == "held_out").height == held_out
    matrix = angles(*(places[int(id_[1:])] for id_ in kept))
    cosines = matrix @ matrix.T
    assert (cosines[~np.eye(len(kept), dtype=bool)] <= method.threshold + 1e-5).all()
    assert sorted(decisions.drop_nulls("rank")["rank"]) == list(range(1, len(places) + 1))
    assert_frame_equal(method.select(shuffled(pool, seed)), decisions)
