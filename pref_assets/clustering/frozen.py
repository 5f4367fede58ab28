"""Centres that stay: the first fit is kept in the store, later runs only assign."""

import polars as pl

from pref_assets.clustering.base import Clustering
from pref_assets.clustering.kmeans import KMeans
from pref_assets.features.store import Store
from pref_assets.pairs.schema import CENTROIDS
from pref_assets.pool import Pool

KIND = "centroids"
"""Table of the store: one row a fit, its ``CENTROIDS`` as lists."""
_FIT = "fit"


def cluster_frozen(store: Store, key: str, clusterer: KMeans, pool: Pool) -> Clustering:
    """The pool's completions in the clusters kept under ``key``; where there are none, in clusters found now and kept.

    The key holds all that a fit depends on but the data: pipeline, entry, settings, and the embedder's store key. Of
    two processes that fit at once the first to write wins, and both use its centres. Quality has ``fitted_now``.

    Raises:
        ValueError: as ``KMeans.fit`` and ``KMeans.assign`` do.
    """
    fitted = bool(store.missing(KIND, key, [_FIT]))
    if fitted:
        store.append(KIND, key, _packed(clusterer.cluster(pool).centroids))
    found = clusterer.assign(pool, _unpacked(store.read(KIND, key, [_FIT])))
    return Clustering(found.assignments, found.centroids, {**found.quality, "fitted_now": float(fitted)})


def _packed(centroids: pl.DataFrame) -> pl.DataFrame:
    return centroids.select(pl.all().implode()).with_columns(id=pl.lit(_FIT))


def _unpacked(rows: pl.DataFrame) -> pl.DataFrame:
    columns = list(CENTROIDS.columns)
    return CENTROIDS.conform(rows.select(columns).explode(columns))
