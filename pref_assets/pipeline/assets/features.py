"""Features: a vector for every compared completion, computed once and kept in the content-addressed store."""

from typing import Any

import dagster as dg
import polars as pl

from pref_assets.features import Embedder, Store
from pref_assets.features.embeddings import KIND, embedding_rows
from pref_assets.home import Home
from pref_assets.pairs.schema import EMBEDDINGS
from pref_assets.pairs.texts import compared
from pref_assets.pipeline.assets.common import FOLLOW, Assets, named_inputs, pairs_inputs, table_result, taken
from pref_assets.pipeline.inputs import write_input
from pref_assets.pipeline.metadata import preview, series
from pref_assets.pipeline.naming import TABLE_IO, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.resources.compute import Compute
from pref_assets.training.job import Job


def build(spec: PipelineSpec) -> Assets:
    return [_embeddings(spec, name, settings) for name, settings in spec.embeddings.items()]


def _embeddings(spec: PipelineSpec, name: str, settings: Embedder) -> dg.AssetsDefinition:
    checkpoints = spec.needs(settings, "checkpoints")
    tables = ("pairs", "completions", "prompts")
    read = [f"`{each}`" for each in tables] + [f"checkpoint `{each}`" for each in checkpoints]

    @dg.asset(
        **asset_spec(
            spec.name,
            "embeddings",
            name,
            description=describe(
                f"Vectors of every compared completion by `{settings.named()}`. The table says which are in the store.",
                inputs=", ".join(read),
                settings=settings,
                table=EMBEDDINGS,
            ),
            settings=settings,
            table=EMBEDDINGS,
            automation=None if spec.waits(settings) else FOLLOW,
        ),
        ins={**pairs_inputs(spec.name, *tables), **named_inputs(spec.name, "checkpoints", checkpoints)},
        io_manager_key=TABLE_IO,
    )
    def embeddings(
        context: dg.AssetExecutionContext, compute: Compute, home: dg.ResourceParam[Home], **inputs: Any
    ) -> dg.MaterializeResult[pl.DataFrame]:
        items = settings.items(compared(inputs["completions"], inputs["pairs"]), inputs["prompts"])
        texts = items.select("text", id="vector_id").unique("id").sort("id")
        checkpoint = next((folder.path for folder in taken(inputs, "checkpoints").values()), None)
        store, key = Store(home.store), settings.key(checkpoint)
        done = {"embedded": 0, "reused": texts.height, "seconds": 0.0}
        if store.missing(KIND, key, texts["id"]):
            written = {"texts": write_input(home, texts.select("id", "text"), "id")}
            config, params = settings.model_dump(mode="json"), {"checkpoint": checkpoint}
            job = Job(task="embed", home=str(home.root), config=config, inputs=written, params=params)
            done = compute.run(context, job)
        rows = embedding_rows(store, key, items)
        counted = {each: done[each] for each in ("embedded", "reused", "seconds")}
        counted["hit_rate"] = counted["reused"] / texts.height if texts.height else 1.0
        told = series({**counted, "truncated": rows["truncated"].sum()})
        shown = preview(items.select("id", "text").join(rows, on="id"))
        return table_result(rows, EMBEDDINGS, {**told, "preview": shown})

    return embeddings
