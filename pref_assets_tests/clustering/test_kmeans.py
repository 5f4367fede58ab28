from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pref_assets.clustering import Clustering, KMeans
from pref_assets.pairs.schema import CENTROIDS, CLUSTERS
from pref_assets.selection import Vectors

NO_TEXTS = pl.DataFrame(schema={"id": pl.String, "text": pl.String})


def kmeans(
    k: int, matrix: np.ndarray, ids: list[str] | None = None, texts: pl.DataFrame = NO_TEXTS, **settings: Any
) -> Clustering:
    ids = ids or [f"c{row:04}" for row in range(len(matrix))]
    return KMeans(embeddings="e", k=k, normalize=False, **settings).fit(
        Vectors(ids, np.asarray(matrix, dtype=np.float32)), texts
    )


def blobs(sizes: list[int], d: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    return 20 * rng.normal(size=(len(sizes), d))[truth] + rng.normal(size=(len(truth), d)), truth


def test_four_points_by_hand() -> None:
    """Two at 0 and 2, one at 10, one at 11 on a line, k = 2: centres 1 and 10.5, inertia 1 + 1 + .25 + .25."""
    found = kmeans(2, np.array([[10.0], [0.0], [11.0], [2.0]]), ids=["d", "b", "c", "a"])
    assert found.assignments.rows() == [("a", 0, 1.0), ("b", 0, 1.0), ("c", 1, 0.5), ("d", 1, 0.5)]
    assert found.centroids["centroid"].to_list() == [[1.0], [10.5]]
    assert found.centroids.select("size", "mean_distance").rows() == [(2, 1.0), (2, 0.5)]
    assert found.quality["inertia"] == pytest.approx(2.5)
    assert found.quality["inertia_per_vector"] == pytest.approx(0.625)
    assert found.quality["size_entropy"] == pytest.approx(1)
    # 1 - own / other mean distance: 2 from 0 and 2, 1 from 10 and 11.
    own_and_other = [(2, 10.5), (2, 8.5), (1, 9), (1, 10)]
    assert found.quality["silhouette"] == pytest.approx(np.mean([1 - own / other for own, other in own_and_other]))


@pytest.mark.parametrize("sample_per_cluster", [32, 10_000])
def test_planted_groups_are_found_largest_first(sample_per_cluster: int) -> None:
    matrix, truth = blobs([50, 400, 150])
    found = kmeans(3, matrix, sample_per_cluster=sample_per_cluster)
    assert found.assignments["cluster"].to_list() == np.array([2, 0, 1])[truth].tolist()
    assert found.centroids["size"].to_list() == [400, 150, 50]
    assert found.quality["silhouette"] > 0.5
    shares = np.array([50, 400, 150]) / 600
    assert found.quality["size_entropy"] == pytest.approx(-(shares * np.log(shares)).sum() / np.log(3))
    assert (found.assignments.schema, found.centroids.schema) == (CLUSTERS.schema, CENTROIDS.schema)


def test_a_sample_is_about_as_good_as_everything() -> None:
    matrix = np.random.default_rng(0).normal(size=(3000, 8))
    everything = kmeans(10, matrix, sample_per_cluster=10_000, iterations=300).quality["inertia"]
    assert kmeans(10, matrix, sample_per_cluster=64).quality["inertia"] < 1.05 * everything


def test_results_do_not_depend_on_row_order() -> None:
    matrix = np.random.default_rng(1).normal(size=(500, 6))
    ids = [f"c{row:04}" for row in range(500)]
    rows = np.random.default_rng(2).permutation(500)
    first, second = kmeans(7, matrix, ids), kmeans(7, matrix[rows], [ids[row] for row in rows])
    assert_frame_equal(first.assignments, second.assignments, check_exact=True)
    assert_frame_equal(first.centroids, second.centroids, check_exact=True)
    assert first.quality == second.quality


def test_each_vector_is_in_the_nearest_cluster() -> None:
    matrix = np.random.default_rng(3).normal(size=(400, 5)).astype(np.float32)
    found = kmeans(9, matrix, polish=1)
    centres = np.array(found.centroids["centroid"].to_list())
    distances = np.linalg.norm(matrix[:, None] - centres[None], axis=2)
    np.testing.assert_allclose(found.assignments["distance"], distances.min(axis=1), atol=1e-4)


def test_duplicates_count_but_do_not_take_clusters() -> None:
    matrix = np.array([[0.0]] * 97 + [[5.0], [6.0], [-0.0]])
    found = kmeans(3, matrix)
    assert found.centroids["size"].to_list() == [98, 1, 1]
    assert found.quality["inertia"] == 0
    with pytest.raises(ValueError, match="k=4, but only 3 distinct vectors among 100; lower k"):
        kmeans(4, matrix)


def test_one_cluster_has_no_silhouette() -> None:
    found = kmeans(1, np.random.default_rng(0).normal(size=(20, 3)))
    assert found.centroids["size"].to_list() == [20]
    assert "silhouette" not in found.quality


def test_with_unit_length_direction_decides() -> None:
    matrix = np.array([[1.0, 0], [9, 0.1], [0, 1], [0.1, 9]], dtype=np.float32)
    vectors = Vectors(["a", "b", "c", "d"], matrix)
    clusters = KMeans(embeddings="e", k=2).fit(vectors, NO_TEXTS).assignments["cluster"].to_list()
    assert clusters == [0, 0, 1, 1]


def test_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"1 embeddings hold NaN or infinite values, e\.g\. \['c0001'\]"):
        kmeans(2, np.array([[0.0], [np.nan], [1.0]]))


def test_labels_are_the_words_that_set_a_cluster_apart() -> None:
    texts = [
        "Bake the bread, write a poem",
        "Bread flour: write slowly",
        "The rocket engine! Write",
        "ROCKET engine fuel, write",
    ]
    frame = pl.DataFrame({"id": ["a", "b", "c", "d"], "text": texts})
    found = kmeans(2, np.array([[0.0], [0.1], [9.0], [9.1]]), ["a", "b", "c", "d"], frame, label_words=2)
    # Twice in both: `write` scores 2 log(1 + A/4); `bread` only here: 2 log(1 + A/2). `poem` is in one text only.
    labels = [set(label.split(" · ")) for label in found.centroids["label"]]
    assert labels == [{"bread", "write"}, {"rocket", "engine"}]
    assert found.centroids["label"][0] == "bread · write"


def test_a_cluster_without_texts_has_an_empty_label() -> None:
    assert kmeans(2, np.array([[0.0], [1.0]])).centroids["label"].to_list() == ["", ""]
