"""k-means on embeddings, with words that tell the clusters apart, and centres that may stay as they are."""

from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.clustering.base import Clustering
from pref_assets.clustering.centred import Centred
from pref_assets.clustering.description import centroid_table, quality
from pref_assets.clustering.lloyd import nearest
from pref_assets.pairs.schema import CLUSTERS
from pref_assets.pool import Pool, Vectors
from pref_assets.settings import EmbeddingsName


class KMeans(Centred):
    """Lloyd's k-means from a greedy k-means++ start (Arthur & Vassilvitskii, 2007); spherical as an option (Dhillon &
    Modha, 2001).

    The centres are found on a sample of at most ``sample_per_cluster`` x k distinct vectors and polished on all of
    them, which is several times faster on 100,000 vectors and costs about one per cent of inertia at most.
    Cluster 0 is the largest. Results do not depend on row order. Time O((sample · iterations + n · polish) · k · d),
    memory O(n · d).

    With ``freeze`` the centres of the first run stay: later runs only assign, so that clusters keep their numbers and
    meaning while batches arrive, and the quality says how far the data drifted from them.
    """

    type: Literal["kmeans"] = "kmeans"
    embeddings: EmbeddingsName
    """Embeddings to cluster."""
    freeze: bool = False
    """Keep the centres of the first run in the store and only assign from then on; drift is reported."""
    refit: int = Field(default=0, ge=0)
    """Raise it to find frozen centres anew, on everything there is then."""

    @model_validator(mode="after")
    def _only_frozen_centres_are_found_anew(self) -> Self:
        if self.refit and not self.freeze:
            raise ValueError("`refit` counts how often frozen centres were found anew; it needs `freeze: true`")
        return self

    def vectors(self, pool: Pool) -> Vectors:
        return pool.embeddings[self.embeddings]

    def assign(self, pool: Pool, kept: pl.DataFrame) -> Clustering:
        """The pool's completions in the clusters of an earlier fit; ``kept`` is its ``CENTROIDS``.

        Numbers and labels stay those of the fit, so cluster 0 need not be the largest any more, and a cluster may be
        empty (size 0). Quality has, beside that of ``fit``, the drift since then: ``distance_ratio`` (mean distance to
        the centre now over then; more than 1: the data moved away), ``population_stability`` (index of the sizes,
        see ``population_stability``) and ``empty`` (clusters).

        Raises:
            ValueError: the vectors have another width than the centres, or NaN or infinite values.
        """
        vectors = self.vectors(pool)
        ids = sorted(vectors.ids)
        matrix = self._scaled(vectors.rows(ids))
        centres = np.array(kept["centroid"].to_list(), dtype=np.float32)
        if matrix.shape[1] != centres.shape[1]:
            raise ValueError(
                f"the frozen centres have {centres.shape[1]} dimensions, the vectors {matrix.shape[1]}; raise `refit`"
            )
        labels, _ = nearest(matrix, centres)
        distance = np.linalg.norm(matrix - centres[labels], axis=1)
        numbers = kept["cluster"].to_numpy().astype(np.int64)
        assignments = CLUSTERS.conform(pl.DataFrame({"id": ids, "cluster": numbers[labels], "distance": distance}))
        named = dict(zip(kept["cluster"].to_list(), kept["label"].to_list(), strict=True))
        table = centroid_table(assignments, numbers, centres, named)
        told = quality(matrix, numbers[labels], distance, self.silhouette_sample, self.seed)
        return Clustering(assignments, table, {**told, **drift(kept, table)})


def drift(then: pl.DataFrame, now: pl.DataFrame) -> dict[str, float]:
    """How far the members moved from the centres of a fit; both are ``CENTROIDS`` with the same clusters."""
    before, after = (_mean_distance(each) for each in (then, now))
    return {
        "distance_ratio": after / before if before > 0 else float("nan"),
        "population_stability": population_stability(then["size"].to_numpy(), now["size"].to_numpy()),
        "empty": float((now["size"] == 0).sum()),
    }


def population_stability(then: np.ndarray, now: np.ndarray) -> float:
    """The population stability index of sizes, sum (q - p) ln(q / p) over shares p then and q now, each size raised by
    a half so that an empty cluster counts; below 0.1 is commonly read as stable, above 0.25 as another population."""
    p, q = ((sizes + 0.5) / (sizes.sum() + 0.5 * len(sizes)) for sizes in (then, now))
    return float(((q - p) * np.log(q / p)).sum())


def _mean_distance(centroids: pl.DataFrame) -> float:
    total = (centroids["mean_distance"].cast(pl.Float64) * centroids["size"]).sum()
    return float(total) / float(centroids["size"].sum())
