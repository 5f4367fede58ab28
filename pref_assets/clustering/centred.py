"""Clusterers with centres: what k-means in any space shares."""

from collections.abc import Iterable
from typing import Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.clustering.base import Clusterer, Clustering, item_texts
from pref_assets.clustering.description import Floats, Ints, centroid_table, largest_first, quality
from pref_assets.clustering.labels import cluster_words
from pref_assets.clustering.lloyd import distinct, fit_centres, nearest, unit
from pref_assets.pairs.schema import CLUSTERS
from pref_assets.pool import Pool, Vectors


class Centred(Clusterer):
    """Lloyd's k-means from a k-means++ start. Subclasses say in which space, by ``vectors``."""

    k: int = Field(ge=1, le=10_000)
    """Number of clusters, at most the number of distinct vectors."""
    normalize: bool = True
    """Scale vectors to unit length first, so that distance orders as cosine similarity does."""
    spherical: bool = False
    """Keep the centres at unit length too (spherical k-means): the sum of cosines is maximised. Needs `normalize`."""
    seed: int = Field(default=0, ge=0)
    """Seed of the start and of samples."""
    starts: int = Field(default=3, ge=1, le=100)
    """Tries of which the best is followed up; more find separate groups more surely."""
    start_per_cluster: int = Field(default=20, ge=2)
    """Vectors a cluster that a start is drawn from and tried on."""
    sample_per_cluster: int = Field(default=256, ge=32)
    """Vectors a cluster on which the centres are found."""
    iterations: int = Field(default=50, ge=1)
    """Most Lloyd steps on the sample."""
    polish: int = Field(default=1, ge=0)
    """Most Lloyd steps on all vectors."""
    tolerance: float = Field(default=1e-3, ge=0, lt=1)
    """Lloyd stops when a step lowers the inertia by less than this share of it."""
    label_words: int = Field(default=4, ge=1, le=20)
    """Words in a cluster's label."""
    label_texts: int = Field(default=200, ge=1)
    """Texts a cluster, nearest the centre first, that its label is drawn from."""
    silhouette_sample: int = Field(default=2000, ge=10, le=20_000)
    """Vectors in the silhouette; its cost grows with the square."""

    @model_validator(mode="after")
    def _spheres_have_unit_vectors(self) -> Self:
        if self.spherical and not self.normalize:
            raise ValueError("spherical k-means works on vectors of unit length; leave `normalize` on")
        return self

    def vectors(self, pool: Pool) -> Vectors:
        """The vectors to group, before they are scaled."""
        raise NotImplementedError

    def space(self, pool: Pool) -> Vectors:
        vectors = self.vectors(pool)
        ids = sorted(vectors.ids)
        return Vectors(ids, self._scaled(vectors.rows(ids)))

    def cluster(self, pool: Pool) -> Clustering:
        """Clusters of everything that has a vector. Centres of pairs are found on ``train`` pairs. Raises as ``fit``
        does."""
        fitted = pool.candidates()["pair_id"] if self.unit == "pair" else None
        return self.fit(self.vectors(pool), item_texts(pool, self.unit), fitted)

    def fit(self, vectors: Vectors, texts: pl.DataFrame, fitted: Iterable[str] | None = None) -> Clustering:
        """Clusters of the vectors; ``texts`` is a frame (id, text) for the labels, one row for each id. The centres are
        found on the ids ``fitted``, or on all. Quality: see ``description.quality``.

        Raises:
            ValueError: k is larger than the number of distinct vectors, or a vector holds NaN or infinite values.
        """
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        ids = sorted(vectors.ids)
        matrix = self._scaled(vectors.rows(ids))
        places = np.arange(len(ids)) if fitted is None else np.flatnonzero(pl.Series(ids).is_in(list(fitted)))
        # One thread: sums taken in the order that threads happen to finish differ in the last bits.
        with threadpool_limits(1):
            known = matrix[places] if len(places) < len(ids) else matrix
            # Far from zero, squares would eat the digits; held-out vectors have no say in by how much.
            offset = np.zeros(matrix.shape[1], np.float32)
            if len(known) and not self.spherical:
                offset = known.mean(axis=0)
            moved = matrix - offset if offset.any() else matrix
            centres = self.centres(moved[places] if len(places) < len(ids) else moved)
            labels, _ = nearest(moved, centres)
        centres = centres + offset
        return self._told(ids, matrix, *_by_size(labels, centres), texts)

    def _scaled(self, matrix: Floats) -> Floats:
        return unit(matrix) if self.normalize else matrix

    def centres(self, matrix: Floats) -> Floats:
        """The centres (k, d) of vectors (n, d) that are scaled already. Raises as ``fit`` does."""
        first, counts = distinct(matrix)
        if self.k > len(first):
            raise ValueError(f"k={self.k}, but only {len(first)} distinct vectors among {len(matrix)}; lower k")
        return fit_centres(
            matrix if len(first) == len(matrix) else matrix[first],
            counts.astype(np.float32),
            self.k,
            self.seed,
            starts=self.starts,
            start=self.k * self.start_per_cluster,
            sample=self.k * self.sample_per_cluster,
            iterations=self.iterations,
            polish=self.polish,
            spherical=self.spherical,
            tolerance=self.tolerance,
        )

    def _told(self, ids: list[str], matrix: Floats, labels: Ints, centres: Floats, texts: pl.DataFrame) -> Clustering:
        """The clustering with numbers ``labels`` (n,) of the vectors ``matrix`` (n, d) around ``centres`` (k, d)."""
        distance = np.linalg.norm(matrix - centres[labels], axis=1)
        assignments = CLUSTERS.conform(pl.DataFrame({"id": ids, "cluster": labels, "distance": distance}))
        words = cluster_words(assignments, texts, self.label_words, self.label_texts)
        numbers = np.arange(len(centres))
        named = {int(each): self.label(words.get(int(each), ""), centres[each]) for each in numbers}
        told = quality(matrix, labels, distance, self.silhouette_sample, self.seed)
        return Clustering(assignments, centroid_table(assignments, numbers, centres, named), told)

    def label(self, words: str, centre: Floats) -> str:
        """The readable label of a cluster with these words and this centre (d,)."""
        return words


def _by_size(labels: Ints, centres: Floats) -> tuple[Ints, Floats]:
    """Numbers by falling size; a centre that no vector is nearest to is left out."""
    numbers, order = largest_first(labels)
    return numbers, centres[order]
