"""Clusters: groups of completions or of pairs, with centroids and words that tell them apart."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.clustering import ClustererConfig, Clustering, KMeans
from pref_assets.clustering.base import item_texts
from pref_assets.clustering.frozen import cluster_frozen
from pref_assets.features import Store
from pref_assets.home import Home
from pref_assets.pairs.schema import CENTROIDS, CLUSTERS
from pref_assets.pipeline.assets.common import FOLLOW, Assets, table_result
from pref_assets.pipeline.metadata import preview, series
from pref_assets.pipeline.naming import TABLE_IO, asset_spec, describe
from pref_assets.pipeline.pools import pool_inputs, pool_of, read_of
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pool import Pool
from pref_assets.settings import digest


def build(spec: PipelineSpec) -> Assets:
    return [_clusters(spec, name, settings) for name, settings in spec.clusters.items()]


def _clusters(spec: PipelineSpec, name: str, settings: ClustererConfig) -> dg.AssetsDefinition:
    inputs = read_of(spec, settings)
    tables = {
        name: (CLUSTERS, f"The cluster of every {settings.unit}."),
        f"{name}_centroids": (CENTROIDS, "Centre, size and readable label of every cluster."),
    }
    specs = {
        key: dg.AssetSpec(
            **asset_spec(
                spec.name,
                "clusters",
                key,
                description=describe(what, inputs=inputs, settings=settings, table=table),
                settings=settings,
                table=table,
                automation=None if spec.waits(settings) else FOLLOW,
            )
        )
        for key, (table, what) in tables.items()
    }

    @dg.multi_asset(
        name=f"{spec.name}__clusters__{name}",
        ins=pool_inputs(spec, settings),
        outs={key: dg.AssetOut.from_spec(each, io_manager_key=TABLE_IO) for key, each in specs.items()},
    )
    def clusters(home: dg.ResourceParam[Home], **inputs: Any) -> Iterator[dg.MaterializeResult[pl.DataFrame]]:
        pool = pool_of(home, inputs)
        found = _found(home, spec, name, settings, pool)
        texts = item_texts(pool, settings.unit)
        labels = found.centroids.select("cluster", "label", "size", "mean_distance")
        shown = found.assignments.join(labels.select("cluster", "label"), on="cluster").join(texts, on="id", how="left")
        yield table_result(
            found.assignments,
            CLUSTERS,
            {**series(found.quality), "preview": preview(shown.select("label", "text", "distance", "id"))},
            key=specs[name].key,
        )
        largest = labels.sort("size", descending=True)
        yield table_result(
            found.centroids,
            CENTROIDS,
            {"largest": preview(largest), **series(found.quality)},
            key=specs[f"{name}_centroids"].key,
        )

    return clusters


def _found(home: Home, spec: PipelineSpec, name: str, settings: ClustererConfig, pool: Pool) -> Clustering:
    """The clusters of the pool; in frozen clusters, where the entry says so."""
    if not (isinstance(settings, KMeans) and settings.freeze):
        return settings.cluster(pool)
    vectors = pool.embeddings[settings.embeddings].key
    return cluster_frozen(Store(home.store), digest([spec.name, name, settings.digest(), vectors]), settings, pool)
