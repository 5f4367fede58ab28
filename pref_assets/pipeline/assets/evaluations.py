"""Evaluations: what training did, with intervals and baselines. The leaderboard lays them side by side."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.evaluation import EvaluationConfig
from pref_assets.evaluation.base import CheckpointRef, Inputs, evaluate
from pref_assets.home import Home
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.pipeline.assets.common import Assets, named_inputs, pairs_inputs, table_result, taken
from pref_assets.pipeline.metadata import MAX_SERIES, preview, series
from pref_assets.pipeline.naming import GPU_POOL, TABLE_IO, TRAINING, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.tracked import link_of
from pref_assets.resources.compute import Compute
from pref_assets.resources.folders import Folder
from pref_assets.resources.tracking import Tracking
from pref_assets.training.checkpoint import read_manifest

_WHOLE = "all"


def build(spec: PipelineSpec) -> Assets:
    return [_evaluation(spec, name, settings) for name, settings in spec.evaluations.items()]


def _evaluation(spec: PipelineSpec, name: str, settings: EvaluationConfig) -> dg.AssetsDefinition:
    measured = spec.checkpoints_of(settings)
    checkpoints = list(dict.fromkeys([*measured, *spec.needs(settings, "checkpoints")]))
    scores = spec.needs(settings, "scores")
    read = [*(f"checkpoint `{each}`" for each in checkpoints), *(f"scores `{each}`" for each in scores)]

    @dg.asset(
        **asset_spec(
            spec.name,
            "evaluations",
            name,
            description=describe(
                f"Measured by `{settings.type}`, with 95 % intervals, next to baselines that need no model.",
                inputs=", ".join(["held-out pairs", *read]),
                settings=settings,
                table=EVALUATIONS,
            ),
            settings=settings,
            table=EVALUATIONS,
            owner=TRAINING,
            tags={"evaluation": settings.type},
        ),
        ins={
            **pairs_inputs(spec.name, "pairs", "prompts", "completions"),
            **named_inputs(spec.name, "scores", scores),
            **named_inputs(spec.name, "checkpoints", checkpoints),
        },
        io_manager_key=TABLE_IO,
        pool=GPU_POOL,
    )
    def evaluation(
        context: dg.AssetExecutionContext,
        pairs: pl.DataFrame,
        prompts: pl.DataFrame,
        completions: pl.DataFrame,
        compute: Compute,
        tracking: Tracking,
        home: dg.ResourceParam[Home],
        **inputs: Any,
    ) -> dg.MaterializeResult[pl.DataFrame]:
        folders: dict[str, Folder] = taken(inputs, "checkpoints")
        known = {each: CheckpointRef.of(read_manifest(found.path), found.path) for each, found in folders.items()}
        asked = Inputs(
            pairs=pairs,
            prompts=prompts,
            completions=completions,
            scores=taken(inputs, "scores"),
            checkpoints=[known[each] for each in measured],
            others=known,
        )
        runs = {each: link.run_id for each in measured if (link := link_of(Path(folders[each].path)))}
        parent = next(iter(runs.values())) if len(runs) == 1 else None
        tags = {f"checkpoint.{each}": run_id for each, run_id in runs.items()}
        with tracking.run(context, settings.model_dump(mode="json"), tags, parent) as run:
            rows = evaluate(settings, asked, home, lambda job: compute.run(context, job))
            run.metrics(0, whole(rows))
        summary = rows.filter(pl.col("subset") == _WHOLE).sort("baseline", "metric", "checkpoint")
        shown = preview(summary, ["checkpoint", "metric", "value", "lo", "hi", "n", "baseline"])
        numbers = series(dict(list(whole(rows.filter(~pl.col("baseline"))).items())[:MAX_SERIES]))
        return table_result(rows, EVALUATIONS, {**numbers, "results": shown, **run.metadata()})

    return evaluation


def whole(rows: pl.DataFrame) -> dict[str, float]:
    """``<metric>/<checkpoint>`` to value, of the whole data."""
    found = rows.filter(pl.col("subset") == _WHOLE).sort("metric", "checkpoint")
    return {
        f"{metric}/{name}": value for metric, name, value in found.select("metric", "checkpoint", "value").iter_rows()
    }
