"""Features: a vector for every compared completion, computed once and kept in the content-addressed store."""

import dagster as dg
import polars as pl

from pref_assets.features import EmbedderConfig, Store
from pref_assets.features.embeddings import KIND, completion_texts, embedding_rows
from pref_assets.home import Home
from pref_assets.pairs.schema import EMBEDDINGS
from pref_assets.pairs.texts import compared
from pref_assets.pipeline.assets.common import FOLLOW, Assets, pairs_inputs, table_result
from pref_assets.pipeline.inputs import write_input
from pref_assets.pipeline.metadata import preview, series
from pref_assets.pipeline.naming import TABLE_IO, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.resources.compute import Compute
from pref_assets.training.job import Job


def build(spec: PipelineSpec) -> Assets:
    return [_embeddings(spec, name, settings) for name, settings in spec.embeddings.items()]


def _embeddings(spec: PipelineSpec, name: str, settings: EmbedderConfig) -> dg.AssetsDefinition:
    @dg.asset(
        **asset_spec(
            spec.name,
            "embeddings",
            name,
            description=describe(
                f"Vectors of every compared completion by `{settings.model}`. The table says which are in the store.",
                inputs="`pairs`, `completions` and `prompts`",
                settings=settings,
                table=EMBEDDINGS,
            ),
            settings=settings,
            table=EMBEDDINGS,
            automation=FOLLOW,
        ),
        ins=pairs_inputs(spec.name, "pairs", "completions", "prompts"),
        io_manager_key=TABLE_IO,
    )
    def embeddings(
        context: dg.AssetExecutionContext,
        pairs: pl.DataFrame,
        completions: pl.DataFrame,
        prompts: pl.DataFrame,
        compute: Compute,
        home: dg.ResourceParam[Home],
    ) -> dg.MaterializeResult[pl.DataFrame]:
        texts = completion_texts(compared(completions, pairs), prompts, settings)
        store = Store(home.store)
        done = {"embedded": 0, "reused": texts.height, "seconds": 0.0}
        if store.missing(KIND, settings.key(), texts["id"]):
            inputs = {"texts": write_input(home, texts, "id")}
            job = Job(task="embed", home=str(home.root), config=settings.model_dump(mode="json"), inputs=inputs)
            done = compute.run(context, job)
        rows = embedding_rows(store, settings, texts["id"])
        counted = series(
            {**{each: done[each] for each in ("embedded", "reused", "seconds")}, "truncated": rows["truncated"].sum()}
        )
        return table_result(rows, EMBEDDINGS, {**counted, "preview": preview(texts.join(rows, on="id"))})

    return embeddings
