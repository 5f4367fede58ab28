"""Density clusters: as many as the data have, and noise that belongs to none."""

from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.clustering.base import NOISE, Clusterer, Clustering, item_texts
from pref_assets.clustering.description import Floats, Ints, centroid_table, largest_first, quality
from pref_assets.clustering.labels import cluster_words
from pref_assets.clustering.lloyd import nearest, unit
from pref_assets.pairs.schema import CLUSTERS
from pref_assets.pool import Pool, Vectors, seeded_hash
from pref_assets.settings import EmbeddingsName

NOISE_LABEL = "noise"


class Hdbscan(Clusterer):
    """HDBSCAN: Campello, Moulavi & Sander (PAKDD 2013), by scikit-learn.

    Vectors are reduced to their first principal components, where density means something. The clusters are found on at
    most ``sample`` vectors, drawn by a hash of their ids; each other vector joins its nearest sampled one, or noise.
    Cluster 0 is the largest; noise is cluster -1 with its own row among the centroids, and is left out of the quality
    but for ``noise_share``. Time O(sample² · components + n · sample · components), memory O(sample · components).
    """

    type: Literal["hdbscan"] = "hdbscan"
    embeddings: EmbeddingsName
    """Embeddings to cluster."""
    min_cluster_size: int = Field(default=20, ge=2)
    """Fewest members of a cluster, in the sample."""
    min_samples: int | None = Field(default=None, ge=1)
    """Neighbours that make a place dense; `min_cluster_size` if left out. Fewer: less noise."""
    merge_within: float = Field(default=0.0, ge=0)
    """Clusters nearer to each other than this distance are merged."""
    pick: Literal["eom", "leaf"] = "eom"
    """The most persistent clusters of the tree (excess of mass), or its leaves, which are smaller and more alike."""
    normalize: bool = True
    """Scale vectors to unit length first, so that distance orders as cosine similarity does."""
    components: int = Field(default=16, ge=1, le=512)
    """Principal components to work in; all there are where the vectors have fewer."""
    sample: int = Field(default=10_000, ge=10, le=50_000)
    """Most vectors on which the clusters are found; bounds a cost that grows with the square."""
    seed: int = Field(default=0, ge=0)
    """Seed of samples."""
    label_words: int = Field(default=4, ge=1, le=20)
    """Words in a cluster's label."""
    label_texts: int = Field(default=200, ge=1)
    """Texts a cluster, nearest the centre first, that its label is drawn from."""
    silhouette_sample: int = Field(default=2000, ge=10, le=20_000)
    """Vectors in the silhouette; its cost grows with the square."""

    def space(self, pool: Pool) -> Vectors:
        vectors = pool.embeddings[self.embeddings]
        ids = sorted(vectors.ids)
        matrix = vectors.rows(ids)
        return Vectors(ids, unit(matrix) if self.normalize else matrix)

    def cluster(self, pool: Pool) -> Clustering:
        """Clusters of the completions that have vectors. Raises as ``fit`` does."""
        return self.fit(self.space(pool), item_texts(pool, self.unit))

    def fit(self, vectors: Vectors, texts: pl.DataFrame) -> Clustering:
        """Clusters of the vectors; ``texts`` is a frame (id, text) for the labels. Distances are to the mean of a
        cluster. Quality: that of ``description.quality``, and ``noise_share``.

        Raises:
            ValueError: fewer vectors than ``min_cluster_size``, everything is noise, or a vector is not finite.
        """
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        ids = sorted(vectors.ids)
        matrix = vectors.rows(ids)
        if len(ids) < self.min_cluster_size:
            raise ValueError(f"hdbscan: {len(ids)} vectors, but a cluster has at least {self.min_cluster_size}")
        with threadpool_limits(1):
            labels = self._labels(ids, principal(matrix, self.components))
        if (labels == NOISE).all():
            raise ValueError(
                f"hdbscan: all {len(ids)} vectors are noise; lower `min_samples` or `min_cluster_size` "
                f"(now {self.min_cluster_size}), or use k-means"
            )
        labels, order = largest_first(labels)
        numbers = np.concatenate([np.full(int((labels == NOISE).any()), NOISE), np.arange(len(order))])
        centres = np.stack([matrix[labels == each].mean(axis=0) for each in numbers])
        distance = np.linalg.norm(matrix - centres[labels - numbers[0]], axis=1)
        assignments = CLUSTERS.conform(pl.DataFrame({"id": ids, "cluster": labels, "distance": distance}))
        words = cluster_words(assignments.filter(pl.col("cluster") != NOISE), texts, self.label_words, self.label_texts)
        told = quality(matrix, labels, distance, self.silhouette_sample, self.seed)
        told["noise_share"] = float((labels == NOISE).mean())
        return Clustering(
            assignments, centroid_table(assignments, numbers, centres, {**words, NOISE: NOISE_LABEL}), told
        )

    def _labels(self, ids: list[str], matrix: Floats) -> Ints:
        drawn = np.sort(seeded_hash(ids, self.seed, "hdbscan").arg_sort().to_numpy()[: self.sample]).astype(np.int64)
        settings: dict[str, Any] = {
            "min_cluster_size": self.min_cluster_size,
            "min_samples": self.min_samples,
            "cluster_selection_epsilon": self.merge_within,
            "cluster_selection_method": self.pick,
        }
        import sklearn.cluster

        found = sklearn.cluster.HDBSCAN(**settings, n_jobs=1, copy=True).fit(matrix[drawn]).labels_
        if len(drawn) == len(ids):
            return np.asarray(found, dtype=np.int64)
        return np.asarray(found, dtype=np.int64)[nearest(matrix, matrix[drawn], block=1024)[0]]


def principal(matrix: Floats, components: int) -> Floats:
    """The first principal components (n, min(components, d)) of the vectors (n, d)."""
    moved = matrix - matrix.mean(axis=0)
    if components >= matrix.shape[1]:
        return np.asarray(moved, dtype=np.float32)
    _, directions = np.linalg.eigh((moved.T @ moved).astype(np.float64))
    return np.asarray(moved @ directions[:, ::-1][:, :components].astype(np.float32), dtype=np.float32)
