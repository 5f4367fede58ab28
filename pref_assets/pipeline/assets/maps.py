"""The map of the data: train pairs on a plane by every clustering, with the pairs of each subset marked."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.clustering import Clusterer
from pref_assets.home import Home
from pref_assets.inspection.map import DataMap, View, page, picture
from pref_assets.pipeline.assets.common import FOLLOW, Assets, named_inputs, taken
from pref_assets.pipeline.metadata import bounded, series
from pref_assets.pipeline.metadata import picture as shown
from pref_assets.pipeline.naming import asset_spec, describe
from pref_assets.pipeline.pools import pool_inputs, pool_of
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pool import Pool
from pref_assets.resources.folders import write_atomically
from pref_assets.selection.turns import clusters_of
from pref_assets.settings import digest

NAME = "map"


def build(spec: PipelineSpec) -> Assets:
    return [_map(spec)] if spec.clusters else []


def _map(spec: PipelineSpec) -> dg.AssetsDefinition:
    settings = DataMap()
    ins: dict[str, dg.AssetIn] = {}
    for each in spec.clusters.values():
        ins |= pool_inputs(spec, each)
    names = [table for name in spec.clusters for table in (name, f"{name}_centroids")]
    ins |= named_inputs(spec.name, "clusters", names) | named_inputs(spec.name, "subsets", list(spec.subsets))

    @dg.asset(
        **asset_spec(
            spec.name,
            "reports",
            NAME,
            description=describe(
                "The train pairs on a plane, coloured by cluster, with their texts on hover and the pairs of each "
                "subset marked. One HTML file that loads nothing else.",
                inputs="`pairs` and their texts, every clustering and what it read, every subset",
                settings=settings,
            ),
            settings=settings,
            automation=FOLLOW,
        ),
        ins=ins,
    )
    def data_map(home: dg.ResourceParam[Home], **inputs: Any) -> dg.MaterializeResult[Any]:
        subsets = taken(inputs, "subsets")
        pool = pool_of(home, {name: value for name, value in inputs.items() if not name.startswith("subsets__")})
        pairs = settings.sample(pool)
        views = [_view(settings, pool, pairs, name, each) for name, each in spec.clusters.items()]
        text = page(f"Map of {spec.name}", pool, pairs, views, subsets, settings.characters)
        file = map_file(home, spec.name)
        write_atomically(file, text)
        notes = {
            **series({"points": len(pairs), "views": len(views), "subsets": len(subsets), "bytes": len(text.encode())}),
            "file": dg.MetadataValue.path(str(file)),
            "picture": shown(picture(views[0]), f"map by {views[0].name}"),
        }
        return dg.MaterializeResult(data_version=dg.DataVersion(digest(text)), metadata=bounded(notes))

    return data_map


def _view(settings: DataMap, pool: Pool, pairs: pl.DataFrame, name: str, clusterer: Clusterer) -> View:
    """The pairs where the clusterer puts them: a pair itself, or its chosen completion."""
    ids = pairs["pair_id" if clusterer.unit == "pair" else "chosen_id"].to_list()
    places = settings.plane(clusterer.space(pool).rows(ids))
    return View(name, places, clusters_of(pool, name, pairs), pool.clusters[f"{name}_centroids"])


def map_file(home: Home, pipeline: str) -> Path:
    """The map as HTML."""
    return home.root / "reports" / pipeline / f"{NAME}.html"
