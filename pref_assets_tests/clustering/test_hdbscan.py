import numpy as np
import pytest
from polars.testing import assert_frame_equal

from pref_assets.clustering import Clustering, Hdbscan
from pref_assets.clustering.hdbscan import principal
from pref_assets.pairs.schema import CENTROIDS, CLUSTERS
from pref_assets.pool import Vectors
from pref_assets_tests.clustering.pools import vector_pool
from pref_assets_tests.clustering.test_kmeans import NO_TEXTS, blobs


def hdbscan(matrix: np.ndarray, ids: list[str] | None = None, **settings: object) -> Clustering:
    ids = ids or [f"c{row:04}" for row in range(len(matrix))]
    method = Hdbscan.model_validate({"embeddings": "e", "normalize": False, **settings})
    return method.fit(Vectors(ids, np.asarray(matrix, dtype=np.float32)), NO_TEXTS)


def with_noise() -> tuple[np.ndarray, np.ndarray]:
    """Groups of 200, 60 and 100 points, and 20 points far from everything, of truth -1."""
    matrix, truth = blobs([200, 60, 100])
    far = 300 * np.random.default_rng(9).normal(size=(20, 8))
    return np.concatenate([matrix, far]), np.concatenate([truth, np.full(20, -1)])


@pytest.mark.parametrize("components", [4, 16])
def test_groups_and_noise_are_found(components: int) -> None:
    matrix, truth = with_noise()
    found = hdbscan(matrix, components=components, min_samples=5)
    labels = found.assignments["cluster"].to_numpy()
    expected = np.array([0, 2, 1, -1])[truth]
    assert (labels == expected).mean() > 0.98
    assert (labels[truth == -1] == -1).all()
    assert found.centroids["cluster"].to_list() == [-1, 0, 1, 2]
    assert found.centroids["label"][0] == "noise"
    assert found.centroids["size"].sum() == 380
    assert found.quality["noise_share"] == pytest.approx((labels == -1).mean())
    assert found.quality["k"] == 3
    assert found.quality["silhouette"] > 0.5
    assert (found.assignments.schema, found.centroids.schema) == (CLUSTERS.schema, CENTROIDS.schema)


def test_distances_are_to_the_mean_of_the_own_cluster() -> None:
    matrix, _ = with_noise()
    found = hdbscan(matrix, min_samples=5)
    labels = found.assignments["cluster"].to_numpy()
    for cluster in (-1, 0, 1, 2):
        members = matrix[labels == cluster].astype(np.float32)
        expected = np.linalg.norm(members - members.mean(axis=0), axis=1)
        np.testing.assert_allclose(found.assignments["distance"].to_numpy()[labels == cluster], expected, rtol=1e-3)


def test_without_noise_there_is_no_noise_row() -> None:
    matrix, _ = blobs([60, 60])
    found = hdbscan(matrix, min_samples=1, min_cluster_size=30, merge_within=5.0)
    assert found.centroids["cluster"].to_list() == [0, 1]
    assert found.quality["noise_share"] == 0


def test_results_do_not_depend_on_row_order() -> None:
    matrix, _ = with_noise()
    ids = [f"c{row:04}" for row in range(len(matrix))]
    rows = np.random.default_rng(2).permutation(len(matrix))
    first, second = hdbscan(matrix, ids), hdbscan(matrix[rows], [ids[row] for row in rows])
    assert_frame_equal(first.assignments, second.assignments, check_exact=True)
    assert first.quality == second.quality


def test_beyond_the_sample_vectors_join_their_nearest() -> None:
    matrix, truth = blobs([300, 200, 100])
    found = hdbscan(matrix, sample=200, min_cluster_size=10, min_samples=3)
    labels = found.assignments["cluster"].to_numpy()
    inside = labels != -1
    assert inside.mean() > 0.9
    assert (labels == truth)[inside].all()


def test_principal_components() -> None:
    """Distances in all components are the distances, and those in the first are the best approximation."""
    matrix = np.random.default_rng(0).normal(size=(50, 6)) * [9, 5, 3, 0.1, 0.1, 0.1]
    moved = matrix - matrix.mean(axis=0)
    values = np.linalg.svd(moved, compute_uv=False)
    found = principal(matrix.astype(np.float32), 3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), values[:3], rtol=1e-3)
    assert principal(matrix.astype(np.float32), 9).shape == (50, 6)


def test_a_pool_of_completions() -> None:
    matrix, _ = blobs([40, 40])
    found = Hdbscan(embeddings="e", min_cluster_size=10, normalize=False).cluster(vector_pool(matrix, matrix + 0.1))
    assert len(found.assignments) == 160
    assert set(found.assignments["cluster"]) <= {-1, 0, 1}


def test_bad_inputs() -> None:
    with pytest.raises(ValueError, match="5 vectors, but a cluster has at least 20"):
        hdbscan(np.zeros((5, 2)))
    scattered = np.random.default_rng(0).uniform(size=(60, 8)) * 100
    with pytest.raises(ValueError, match="all 60 vectors are noise; lower `min_samples`"):
        hdbscan(scattered, min_cluster_size=25)
    with pytest.raises(ValueError, match="1 embeddings hold NaN"):
        hdbscan(np.array([[np.nan, 0.0]] + [[0.0, 0.0]] * 30))


def test_duplicates_are_one_dense_place() -> None:
    found = hdbscan(np.array([[0.0, 0]] * 50 + [[9.0, 9]] * 30), min_cluster_size=10)
    assert found.centroids.select("cluster", "size").rows() == [(0, 50), (1, 30)]
