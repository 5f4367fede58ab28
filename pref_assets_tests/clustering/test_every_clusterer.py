"""What holds for every clusterer of the union, also for the one that is added next."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import TypeAdapter

from pref_assets.clustering import Clusterer, ClustererConfig, Clustering
from pref_assets.pairs.schema import CENTROIDS, CLUSTERS
from pref_assets.pool import Pool, Vectors
from pref_assets_tests import sweep
from pref_assets_tests.selection.invariants import shuffled

ADAPTER: TypeAdapter = TypeAdapter(ClustererConfig)
Config = dict[str, Any]
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@dataclass(frozen=True)
class Entry:
    """A clusterer to sweep: the smallest valid configuration, and the cases that are errors, with words of them."""

    config: Config
    refuses: dict[str, str] = field(default_factory=dict)


TRAINING: Config = {"training": {"epochs": 4, "batch": 16}}
ONE_VECTOR = dict.fromkeys(("equal_vectors", "zero_vectors"), "k=4, but only 1 distinct vectors")
NO_TRAIN = dict.fromkeys(("no_pair", "no_train"), "no train pairs to train a head on")
FEW = {"one_pair": "k=4, but only 1 distinct", "fewer_than_clusters": "k=4, but only 3 distinct"}
SHORT = dict.fromkeys(
    ("no_pair", "no_train", "one_pair", "fewer_than_clusters"), "[013] train pairs .* too few for 5 points"
)
NOISE = dict.fromkeys(("equal_vectors", "zero_vectors", "fewer_than_clusters"), "vectors are noise; lower")
ENTRIES: dict[str, Entry] = {
    "kmeans": Entry({"k": 4}, {**ONE_VECTOR, "no_pair": "k=4, but only 0 distinct vectors"}),
    "hdbscan": Entry({"min_cluster_size": 4}, {**NOISE, "no_pair": "0 vectors, but a cluster has at least 4"}),
    "trajectories": Entry({"k": 4, "points": 5, **TRAINING}, {**ONE_VECTOR, **SHORT}),
    "projected_gradients": Entry({"k": 4, "dimensions": 16, **TRAINING}, {**ONE_VECTOR, **NO_TRAIN, **FEW}),
}
TYPES = sorted(ENTRIES)


@cache
def known() -> Pool:
    return sweep.known_pool()


def made(kind: str, **more: Any) -> Clusterer:
    return ADAPTER.validate_python({"type": kind, "embeddings": "planted", **ENTRIES[kind].config, **more})


def items(kind: str, pool: Pool) -> list[str]:
    """Ids of what is clustered: all that have a vector, or all pairs."""
    if made(kind).unit == "pair":
        return pool.pairs["pair_id"].sort().to_list()
    return sorted(pool.embeddings["planted"].ids)


def assert_clusters(kind: str, pool: Pool, **more: Any) -> Clustering:
    """Asserts that each item has exactly one row, that numbers are numbers, and that row order is nothing."""
    method = made(kind, **more)
    found = method.cluster(pool)
    assert found.assignments.schema == CLUSTERS.schema
    assert found.centroids.schema == CENTROIDS.schema
    assert found.assignments["id"].to_list() == items(kind, pool)
    assert found.assignments.null_count().sum_horizontal().item() == 0
    assert found.assignments["distance"].is_finite().all()
    assert (found.assignments["distance"] >= 0).all()
    assert all(np.isfinite(value) for value in found.quality.values()), found.quality
    centres = np.array(found.centroids["centroid"].to_list())
    assert np.isfinite(centres).all()
    sizes = dict(found.assignments["cluster"].value_counts().iter_rows())
    assert dict(found.centroids.select("cluster", "size").iter_rows()) == sizes
    real = {number: size for number, size in sizes.items() if number >= 0}
    assert sorted(real) == list(range(len(real)))
    assert real[0] == max(real.values())
    assert list(method.space(pool).ids) == found.assignments["id"].to_list()
    for seed in range(2):
        again = method.cluster(shuffled(pool, seed))
        assert_frame_equal(again.assignments, found.assignments, check_exact=True)
        assert_frame_equal(again.centroids, found.centroids, check_exact=True)
    return found


def outcome(kind: str, case: str, pool: Pool, **more: Any) -> None:
    words = ENTRIES[kind].refuses.get(case)
    if words is None:
        assert_clusters(kind, pool, **more)
        return
    with pytest.raises(ValueError, match=words) as caught:
        made(kind, **more).cluster(pool)
    sweep.refused(caught.value)


def test_every_type_of_the_union_is_swept() -> None:
    assert sweep.types_of(ClustererConfig) == set(ENTRIES)


@pytest.mark.parametrize("kind", TYPES)
def test_each_item_is_in_one_cluster_whatever_the_row_order(kind: str) -> None:
    found = assert_clusters(kind, known())
    assert found.assignments["cluster"].n_unique() > 1


def with_few(pool: Pool) -> Pool:
    """The pool with three pairs and the vectors of their completions."""
    pool = pool.only(pool.candidates()["pair_id"].head(3))
    ids = [*pool.pairs["chosen_id"], *pool.pairs["rejected_id"]]
    bank = pool.embeddings["planted"]
    return replace(pool, embeddings={"planted": Vectors(ids, bank.rows(ids), bank.tokens(ids))})


CASES: dict[str, Callable[[Pool], Pool]] = {
    "no_pair": sweep.nothing,
    "no_train": sweep.without_train,
    "one_pair": sweep.one_train,
    "fewer_than_clusters": with_few,
    "equal_vectors": sweep.equal_vectors,
    "zero_vectors": lambda pool: sweep.equal_vectors(pool, 0.0),
    "twins": sweep.twins,
    "no_text": lambda pool: replace(pool, completions=pool.completions.clear(), prompts=pool.prompts.clear()),
    "ties": lambda pool: replace(pool, pairs=pool.pairs.with_columns(p_chosen=pl.lit(0.5))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", TYPES)
def test_pools_at_the_edge(kind: str, case: str) -> None:
    outcome(kind, case, CASES[case](known()))


@pytest.mark.parametrize("how", ["nan", "inf"])
@pytest.mark.parametrize("kind", TYPES)
def test_broken_vectors_are_errors_that_say_how_many_and_which(kind: str, how: str) -> None:
    broken = known().candidates()["chosen_id"][5:7].to_list()
    with pytest.raises(ValueError) as caught:
        made(kind).cluster(sweep.spoilt_vectors(known(), "planted", how, broken))
    sweep.refused(caught.value, count=2, names=broken)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if made(kind).unit == "pair"])
def test_pairs_without_vectors_are_errors_that_say_how_many_and_which(kind: str) -> None:
    gone = known().candidates()["chosen_id"][5:7].to_list()
    with pytest.raises(ValueError) as caught:
        made(kind).cluster(sweep.spoilt_vectors(known(), "planted", "missing", gone))
    sweep.refused(caught.value, count=2, names=gone)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if made(kind).unit == "pair"])
def test_the_test_split_moves_no_cluster_of_other_pairs(kind: str) -> None:
    others = known().pairs.filter(pl.col("split") != "test")["pair_id"].to_list()

    def groups(pool: Pool) -> set[frozenset[str]]:
        found = made(kind).cluster(pool).assignments.filter(pl.col("id").is_in(others))
        return {frozenset(ids) for ids in found.group_by("cluster").agg("id")["id"]}

    assert groups(sweep.other_test_split(known())) == groups(known())
