"""Subsets: which pairs train, with a decision and a reason for every pair, kept or not."""

from typing import Any

import dagster as dg
import polars as pl

from pref_assets.home import Home
from pref_assets.pairs.schema import DECISIONS
from pref_assets.pipeline.assets.common import FOLLOW, Assets, seen, table_result
from pref_assets.pipeline.metadata import counts, preview, series
from pref_assets.pipeline.naming import TABLE_IO, asset_spec, describe
from pref_assets.pipeline.pools import pool_inputs, pool_of, read_of
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.selection import SelectorConfig


def build(spec: PipelineSpec) -> Assets:
    return [_subset(spec, name, settings) for name, settings in spec.subsets.items()]


def _subset(spec: PipelineSpec, name: str, settings: SelectorConfig) -> dg.AssetsDefinition:
    @dg.asset(
        **asset_spec(
            spec.name,
            "subsets",
            name,
            description=describe(
                f"The pairs that selector `{settings.type}` keeps, and why it did not keep the others.",
                inputs=read_of(spec, settings),
                settings=settings,
                table=DECISIONS,
            ),
            settings=settings,
            table=DECISIONS,
            automation=None if spec.waits(settings) else FOLLOW,
            tags={"selector": settings.type},
        ),
        ins=pool_inputs(spec, settings),
        io_manager_key=TABLE_IO,
    )
    def subset(home: dg.ResourceParam[Home], **inputs: Any) -> dg.MaterializeResult[pl.DataFrame]:
        pool = pool_of(home, inputs)
        found = settings.select(pool)
        kept = found.filter("selected")
        first = pool.texts(pool.pairs.join(kept.sort("rank").head(5).drop("p_chosen"), on="pair_id")).sort("rank")
        return table_result(
            found,
            DECISIONS,
            {
                **series(
                    {
                        "selected": kept.height,
                        "not_selected": found.height - kept.height,
                        "relabelled": kept["p_chosen"].count(),
                        "mean_score": kept["score"].mean(),
                        "mean_p_chosen": kept.select("pair_id").join(pool.pairs, on="pair_id")["p_chosen"].mean(),
                    }
                ),
                "reasons": counts(found.select(pl.col("reason").str.split(":").list.first()), "reason"),
                "first": preview(first, ["rank", "prompt", "chosen", "rejected", "score", "reason", "pair_id"]),
                **seen(first, pool.prompts, home),
            },
        )

    return subset
