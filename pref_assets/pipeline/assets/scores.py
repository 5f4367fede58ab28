"""Reward models fitted on the pairs themselves, and the number they give to every pair."""

import os
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.content import content_hash
from pref_assets.features import Store
from pref_assets.features.embeddings import load_vectors
from pref_assets.heads import BradleyTerry, CrossFitted, Head, RewardModelConfig
from pref_assets.home import Home
from pref_assets.lineage.critiques import remember
from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pipeline.assets.common import FOLLOW, Assets, pairs_inputs, seen, table_result
from pref_assets.pipeline.measuring import measured_rows, measuring
from pref_assets.pipeline.metadata import Metadata, bounded, counts, histogram, preview, series
from pref_assets.pipeline.naming import FOLDER_IO, GPU_POOL, TABLE_IO, asset_key, asset_spec, describe
from pref_assets.pipeline.pools import pool_inputs, pool_of, read_of
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pool import Pool
from pref_assets.resources.compute import Compute
from pref_assets.resources.folders import Folder
from pref_assets.scoring import CritiqueReward, Ensemble, MeasuredScorer, ScorerConfig
from pref_assets.settings import digest


def build(spec: PipelineSpec) -> Assets:
    return [_reward_model(spec, name, settings) for name, settings in spec.reward_models.items()] + [
        _scores(spec, name, settings) for name, settings in spec.scores.items()
    ]


def _reward_model(spec: PipelineSpec, name: str, settings: RewardModelConfig) -> dg.AssetsDefinition:
    return _ensemble(spec, name, settings) if isinstance(settings, BradleyTerry) else _head(spec, name, settings)


def _ensemble(spec: PipelineSpec, name: str, settings: BradleyTerry) -> dg.AssetsDefinition:
    @dg.asset(
        **asset_spec(
            spec.name,
            "reward_models",
            name,
            description=describe(
                "Reward heads on embeddings, cross-fitted so that no head saw the prompts it scores.",
                inputs=f"the `train` pairs and embeddings `{settings.embeddings}`",
                settings=settings,
            ),
            settings=settings,
            automation=FOLLOW,
        ),
        ins={
            **pairs_inputs(spec.name, "pairs"),
            "vectors": dg.AssetIn(key=asset_key(spec.name, "embeddings", settings.embeddings)),
        },
        io_manager_key=FOLDER_IO,
    )
    def reward_model(
        pairs: pl.DataFrame, vectors: pl.DataFrame, home: dg.ResourceParam[Home]
    ) -> dg.MaterializeResult[Folder]:
        ensemble = settings.fit(pairs, load_vectors(Store(home.store), vectors))
        version = digest([settings.digest(), *(content_hash(frame) for frame in (pairs, vectors))])
        return _fitted(ensemble, home.reward_models / spec.name / name / version)

    return reward_model


def _head(spec: PipelineSpec, name: str, settings: Head) -> dg.AssetsDefinition:
    """A reward head: it may look at more of the pool than the pairs and their vectors."""

    @dg.asset(
        **asset_spec(
            spec.name,
            "reward_models",
            name,
            description=describe(
                "Reward heads, cross-fitted so that no head saw the prompts it scores.",
                inputs=read_of(spec, settings),
                settings=settings,
            ),
            settings=settings,
            automation=None if spec.waits(settings) else FOLLOW,
        ),
        ins=pool_inputs(spec, settings),
        io_manager_key=FOLDER_IO,
    )
    def reward_model(home: dg.ResourceParam[Home], **inputs: Any) -> dg.MaterializeResult[Folder]:
        read = {each: _version(value) for each, value in sorted(inputs.items())}
        version = digest([settings.digest(), read])
        return _fitted(settings.fit_all(pool_of(home, inputs)), home.reward_models / spec.name / name / version)

    return reward_model


def _version(value: pl.DataFrame | Folder) -> str:
    return value.version if isinstance(value, Folder) else content_hash(value)


def _fitted(model: Ensemble | CrossFitted, final: Path) -> dg.MaterializeResult[Folder]:
    """A reward model, written, as an asset's result; its version is the folder's name."""
    folder = Folder(str(_publish(model, final)), final.name, final.name)
    return dg.MaterializeResult(
        value=folder, data_version=dg.DataVersion(final.name), metadata=bounded(series(model.metrics))
    )


def _publish(model: Ensemble | CrossFitted, final: Path) -> Path:
    """Writes the model beside its place and renames it, unless this version is there already."""
    if not final.exists():
        temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        model.save(temporary)
        temporary.rename(final)
    return final


def _scores(spec: PipelineSpec, name: str, settings: ScorerConfig) -> dg.AssetsDefinition:
    @dg.asset(
        **asset_spec(
            spec.name,
            "scores",
            name,
            description=describe(
                f"What scorer `{settings.type}` says of every pair.",
                inputs=read_of(spec, settings),
                settings=settings,
                table=PAIR_SCORES,
            ),
            settings=settings,
            table=PAIR_SCORES,
            automation=None if spec.waits(settings) else FOLLOW,
            tags={"scorer": settings.type},
        ),
        ins=pool_inputs(spec, settings),
        io_manager_key=TABLE_IO,
        pool=GPU_POOL if isinstance(settings, MeasuredScorer) else None,
    )
    def scores(
        context: dg.AssetExecutionContext, compute: Compute, home: dg.ResourceParam[Home], **inputs: Any
    ) -> dg.MaterializeResult[pl.DataFrame]:
        pool = pool_of(home, inputs)
        counted: dict[str, float] = {}
        if isinstance(settings, MeasuredScorer):
            measured, counted = measured_rows(context, compute, home, settings, pool)
            found = settings.combine(pool, measured)
            if isinstance(settings, CritiqueReward):
                remember(home, spec.name, name, settings, pool.checkpoints)
        else:
            found = settings.score(pool)
        return table_result(found, PAIR_SCORES, {**measuring(counted), **_told(pool, found, home)})

    return scores


def _told(pool: Pool, found: pl.DataFrame, home: Home) -> Metadata:
    """What a person wants to know of the scores of a pool."""
    known = found.filter(pl.col("score").is_not_null())
    lowest = pool.texts(pool.pairs.join(known.sort("score", "pair_id").head(5), on="pair_id")).sort("score")
    numbers = {
        "mean_score": known["score"].mean(),
        "mean_spread": found["spread"].mean(),
        "share_below_zero": (known["score"] < 0).mean(),
        "mean_p_correct": found["p_correct"].mean(),
        "without_score": found.height - known.height,
    }
    values = found.select(pl.col("details").explode()).unnest("details").drop_nulls("name")
    means = values.group_by("name").agg(pl.col("value").mean().alias("mean"), pl.len().alias("pairs")).sort("name")
    return {
        **series({name: value for name, value in numbers.items() if value is not None}),
        "categories": counts(found, "category"),
        "distribution": histogram(known["score"].to_numpy(), "score of every pair"),
        "details": preview(means),
        "lowest scores": preview(lowest, ["prompt", "chosen", "rejected", "score", "p_correct", "pair_id"]),
        **seen(lowest, pool.prompts, home),
    }
