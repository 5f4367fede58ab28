"""Subsets: which pairs train, with a decision and a reason for every pair, kept or not."""

from typing import Any

import dagster as dg
import polars as pl

from pref_assets.features import Store
from pref_assets.features.embeddings import load_vectors
from pref_assets.home import Home
from pref_assets.pairs.schema import DECISIONS
from pref_assets.pairs.texts import with_texts
from pref_assets.pipeline.assets.common import FOLLOW, Assets, named_inputs, pairs_inputs, table_result, taken
from pref_assets.pipeline.metadata import counts, preview, series
from pref_assets.pipeline.naming import TABLE_IO, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.selection import Pool, SelectorConfig

_READS = ("scores", "embeddings", "clusters")


def build(spec: PipelineSpec) -> Assets:
    return [_subset(spec, name, settings) for name, settings in spec.subsets.items()]


def _subset(spec: PipelineSpec, name: str, settings: SelectorConfig) -> dg.AssetsDefinition:
    needed = {stage: spec.needs(settings, stage) for stage in _READS}
    read = [f"{stage} `{each}`" for stage, names in needed.items() for each in names]

    @dg.asset(
        **asset_spec(
            spec.name,
            "subsets",
            name,
            description=describe(
                f"The pairs that selector `{settings.type}` keeps, and why it did not keep the others.",
                inputs=", ".join(["`pairs`", *read]),
                settings=settings,
                table=DECISIONS,
            ),
            settings=settings,
            table=DECISIONS,
            automation=FOLLOW,
            tags={"selector": settings.type},
        ),
        ins={
            **pairs_inputs(spec.name, "pairs", "prompts", "completions"),
            **{
                key: each
                for stage, names in needed.items()
                for key, each in named_inputs(spec.name, stage, names).items()
            },
        },
        io_manager_key=TABLE_IO,
    )
    def subset(
        pairs: pl.DataFrame,
        prompts: pl.DataFrame,
        completions: pl.DataFrame,
        home: dg.ResourceParam[Home],
        **inputs: Any,
    ) -> dg.MaterializeResult[pl.DataFrame]:
        store = Store(home.store)
        pool = Pool(
            pairs=pairs,
            completions=completions,
            scores=taken(inputs, "scores"),
            embeddings={each: load_vectors(store, frame) for each, frame in taken(inputs, "embeddings").items()},
            clusters=taken(inputs, "clusters"),
        )
        found = settings.select(pool)
        kept = found.filter("selected")
        first = with_texts(pairs.join(kept.sort("rank").head(5), on="pair_id"), prompts, completions).sort("rank")
        return table_result(
            found,
            DECISIONS,
            {
                **series(
                    {
                        "selected": kept.height,
                        "not_selected": found.height - kept.height,
                        "mean_score": kept["score"].mean(),
                        "mean_p_chosen": kept.join(pairs, on="pair_id")["p_chosen"].mean(),
                    }
                ),
                "reasons": counts(found.select(pl.col("reason").str.split(":").list.first()), "reason"),
                "first": preview(first, ["rank", "prompt", "chosen", "rejected", "score", "reason", "pair_id"]),
            },
        )

    return subset
