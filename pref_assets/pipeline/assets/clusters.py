"""Clusters: groups of similar completions, with centroids and words that tell them apart."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.clustering import ClustererConfig
from pref_assets.home import Home
from pref_assets.pairs.schema import CENTROIDS, CLUSTERS
from pref_assets.pairs.texts import conversation_texts
from pref_assets.pipeline.assets.common import FOLLOW, Assets, table_result
from pref_assets.pipeline.metadata import preview, series
from pref_assets.pipeline.naming import TABLE_IO, asset_spec, describe
from pref_assets.pipeline.pools import pool_inputs, pool_of, read_of
from pref_assets.pipeline.spec import PipelineSpec


def build(spec: PipelineSpec) -> Assets:
    return [_clusters(spec, name, settings) for name, settings in spec.clusters.items()]


def _clusters(spec: PipelineSpec, name: str, settings: ClustererConfig) -> dg.AssetsDefinition:
    inputs = read_of(spec, settings)
    tables = {
        name: (CLUSTERS, "The cluster of every completion."),
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
                automation=FOLLOW,
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
        found = settings.cluster(pool)
        texts = conversation_texts(pool.completions, pool.prompts)
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
