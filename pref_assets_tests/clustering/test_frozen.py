from pathlib import Path

import numpy as np
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from pref_assets.clustering import KMeans
from pref_assets.clustering.frozen import cluster_frozen
from pref_assets.clustering.kmeans import population_stability
from pref_assets.features.store import Store
from pref_assets.pool import Pool
from pref_assets_tests.clustering.pools import vector_pool

FROZEN = KMeans(embeddings="e", k=2, freeze=True, normalize=False)


def pool_at(*groups: tuple[float, int]) -> Pool:
    """Pairs whose sides lie around these places of a line, so many each."""
    places = np.concatenate([np.linspace(at - 1, at + 1, count) for at, count in groups])[:, None]
    return vector_pool(places, places + 0.01)


def test_new_items_join_the_clusters_of_the_first_fit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = cluster_frozen(store, "k", FROZEN, pool_at((0, 40), (100, 20)))
    assert first.quality["fitted_now"] == 1
    assert first.quality["distance_ratio"] == pytest.approx(1, abs=1e-5)
    assert first.quality["population_stability"] == 0
    plain = FROZEN.cluster(pool_at((0, 40), (100, 20)))
    assert_frame_equal(first.assignments, plain.assignments)
    assert_frame_equal(first.centroids, plain.centroids, check_exact=False)

    later = cluster_frozen(store, "k", FROZEN, pool_at((0, 40), (100, 80), (130, 20)))
    assert later.quality["fitted_now"] == 0
    assert later.centroids["centroid"].to_list() == first.centroids["centroid"].to_list()
    assert later.centroids["label"].to_list() == first.centroids["label"].to_list()
    assert later.centroids["size"].to_list() == [80, 200]  # cluster 0 is no longer the largest: numbers stay
    assert later.quality["distance_ratio"] > 2
    assert later.quality["population_stability"] > 0.25


def test_a_cluster_may_run_empty(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cluster_frozen(store, "k", FROZEN, pool_at((0, 40), (100, 20)))
    later = cluster_frozen(store, "k", FROZEN, pool_at((0, 40)))
    assert later.centroids.select("size", "mean_distance").row(1) == (0, None)
    assert later.quality["empty"] == 1
    assert later.quality["population_stability"] > 0.25


def test_another_key_is_another_fit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cluster_frozen(store, "k", FROZEN, pool_at((0, 40), (100, 20)))
    assert cluster_frozen(store, "other", FROZEN, pool_at((0, 40), (300, 20))).quality["fitted_now"] == 1
    assert FROZEN.digest() != FROZEN.model_copy(update={"refit": 1}).digest()


def test_assignment_does_not_depend_on_the_row_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    chosen, rejected = rng.normal(size=(2, 100, 3))
    pools = [vector_pool(chosen, rejected, shuffle=seed) for seed in (1, 2)]
    found = [cluster_frozen(Store(tmp_path / str(i)), "k", FROZEN, pool) for i, pool in enumerate(pools)]
    assert_frame_equal(found[0].assignments, found[1].assignments)
    assert found[0].quality == found[1].quality


def test_population_stability_by_hand() -> None:
    p, q = np.array([50.5, 50.5]) / 101, np.array([90.5, 10.5]) / 101
    expected = float(((q - p) * np.log(q / p)).sum())
    assert population_stability(np.array([50, 50]), np.array([90, 10])) == pytest.approx(expected)
    assert expected == pytest.approx(0.853, abs=0.001)
    assert population_stability(np.array([3, 5]), np.array([3, 5])) == 0


def test_bad_inputs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cluster_frozen(store, "k", FROZEN, pool_at((0, 40), (100, 20)))
    wide = vector_pool(np.random.default_rng(0).normal(size=(5, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="centres have 1 dimensions, the vectors 3; raise `refit`"):
        cluster_frozen(store, "k", FROZEN, wide)
    with pytest.raises(ValidationError, match="it needs `freeze: true`"):
        KMeans(embeddings="e", k=2, refit=1)
    with pytest.raises(ValidationError, match="leave `normalize` on"):
        KMeans(embeddings="e", k=2, spherical=True, normalize=False)
