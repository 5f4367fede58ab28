"""Critiques: what is good and bad about answers, in words."""

from typing import Any

import dagster as dg
import polars as pl

from pref_assets.home import Home
from pref_assets.pairs.schema import CRITIQUES
from pref_assets.pipeline.assets.common import FOLLOW, Assets, table_result
from pref_assets.pipeline.measuring import measured_rows, measuring
from pref_assets.pipeline.metadata import counts, preview
from pref_assets.pipeline.naming import TABLE_IO, asset_spec, describe
from pref_assets.pipeline.pools import pool_inputs, pool_of, read_of
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.resources.compute import Compute
from pref_assets.scoring import Measured
from pref_assets.synthesis.critiques import CritiqueConfig


def build(spec: PipelineSpec) -> Assets:
    return [_critiques(spec, name, settings) for name, settings in spec.critiques.items()]


def _critiques(spec: PipelineSpec, name: str, settings: CritiqueConfig) -> dg.AssetsDefinition:
    @dg.asset(
        **asset_spec(
            spec.name,
            "critiques",
            name,
            description=describe(
                f"What is good and bad about every compared answer, by `{settings.type}`.",
                inputs=read_of(spec, settings),
                settings=settings,
                table=CRITIQUES,
            ),
            settings=settings,
            table=CRITIQUES,
            automation=None if spec.waits(settings) else FOLLOW,
        ),
        ins=pool_inputs(spec, settings),
        io_manager_key=TABLE_IO,
    )
    def critiques(
        context: dg.AssetExecutionContext, compute: Compute, home: dg.ResourceParam[Home], **inputs: Any
    ) -> dg.MaterializeResult[pl.DataFrame]:
        pool = pool_of(home, inputs)
        counted: dict[str, float] = {}
        if isinstance(settings, Measured):
            measured, counted = measured_rows(context, compute, home, settings, pool)
            found = settings.combine(pool, measured)
        else:
            found = settings.critiques(pool)
        shown = preview(found.drop_nulls("critique"), ["reasons", "critique", "writer", "completion_id"])
        told = {"categories": counts(found, "category"), "critiques": shown}
        return table_result(found, CRITIQUES, {**measuring(counted), **told})

    return critiques
