"""Trials: which of the pipeline's selectors beat random pairs of the same number, over several seeds."""

from typing import Any

import dagster as dg
import polars as pl

from pref_assets.home import Home
from pref_assets.pairs.schema import TRIALS
from pref_assets.pipeline.assets.common import Assets, table_result
from pref_assets.pipeline.naming import TABLE_IO, asset_spec, describe
from pref_assets.pipeline.pools import pool_inputs, pool_of, read_of
from pref_assets.pipeline.proving import trial_notes, verdict_asset
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.proving.real import Trials
from pref_assets.settings import digest


def build(spec: PipelineSpec) -> Assets:
    return [asset for name, settings in spec.trials.items() for asset in _of_entry(spec, name, settings)]


def _of_entry(spec: PipelineSpec, name: str, settings: Trials) -> Assets:
    about = (
        f"{len(settings.tried(spec.subsets))} methods on the pairs of `{spec.name}`, {len(settings.seeds)} seeds, each "
        f"with {settings.share:.0%} of the train prompts."
    )
    return [_trials(spec, name, settings), verdict_asset(spec.name, ("trials", f"{name}_proven"), about, [name])]


def _trials(spec: PipelineSpec, name: str, settings: Trials) -> dg.AssetsDefinition:
    tried = settings.tried(spec.subsets)
    described = asset_spec(
        spec.name,
        "trials",
        name,
        description=describe(
            "What a linear reward head learns from what each selector keeps, and from as many random pairs.",
            inputs=read_of(spec, settings),
            settings=settings,
            table=TRIALS,
        ),
        settings=settings,
        table=TRIALS,
    )
    described["code_version"] = digest([described["code_version"], {each: tried[each].digest() for each in tried}])

    @dg.asset(**described, ins=pool_inputs(spec, settings), io_manager_key=TABLE_IO)
    def trials(home: dg.ResourceParam[Home], **inputs: Any) -> dg.MaterializeResult[pl.DataFrame]:
        rows = settings.trials(pool_of(home, inputs), tried, spec.name)
        return table_result(rows, TRIALS, trial_notes(rows))

    return trials
