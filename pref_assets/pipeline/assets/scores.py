"""Reward models fitted on the pairs themselves, and the number they give to every pair."""

import os
import shutil
from pathlib import Path

import dagster as dg
import polars as pl

from pref_assets.content import content_hash
from pref_assets.features import Store
from pref_assets.features.embeddings import load_vectors
from pref_assets.home import Home
from pref_assets.pairs.schema import (
    PAIR_SCORES,
)
from pref_assets.pairs.texts import with_texts
from pref_assets.pipeline.assets.common import FOLLOW, Assets, pairs_inputs, table_result
from pref_assets.pipeline.metadata import bounded, counts, histogram, preview, series
from pref_assets.pipeline.naming import FOLDER_IO, TABLE_IO, asset_key, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.resources.folders import Folder
from pref_assets.scoring import Ensemble, RewardModelConfig, ScorerConfig
from pref_assets.settings import digest


def build(spec: PipelineSpec) -> Assets:
    return [_reward_model(spec, name, settings) for name, settings in spec.reward_models.items()] + [
        _scores(spec, name, settings) for name, settings in spec.scores.items()
    ]


def _reward_model(spec: PipelineSpec, name: str, settings: RewardModelConfig) -> dg.AssetsDefinition:
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
        path = _publish(ensemble, home.reward_models / spec.name / name / version)
        folder = Folder(str(path), version, version)
        return dg.MaterializeResult(
            value=folder, data_version=dg.DataVersion(version), metadata=bounded(series(ensemble.metrics))
        )

    return reward_model


def _publish(ensemble: Ensemble, final: Path) -> Path:
    """Writes the ensemble beside its place and renames it, unless this version is there already."""
    if not final.exists():
        temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        ensemble.save(temporary)
        temporary.rename(final)
    return final


def _scores(spec: PipelineSpec, name: str, settings: ScorerConfig) -> dg.AssetsDefinition:
    embeddings = spec.reward_models[settings.reward_model].embeddings

    @dg.asset(
        **asset_spec(
            spec.name,
            "scores",
            name,
            description=describe(
                "Preference strength of every pair, by an ensemble that did not see it.",
                inputs=f"`pairs`, embeddings `{embeddings}` and reward model `{settings.reward_model}`",
                settings=settings,
                table=PAIR_SCORES,
            ),
            settings=settings,
            table=PAIR_SCORES,
            automation=FOLLOW,
        ),
        ins={
            **pairs_inputs(spec.name, "pairs", "prompts", "completions"),
            "vectors": dg.AssetIn(key=asset_key(spec.name, "embeddings", embeddings)),
            "reward_model": dg.AssetIn(key=asset_key(spec.name, "reward_models", settings.reward_model)),
        },
        io_manager_key=TABLE_IO,
    )
    def scores(
        pairs: pl.DataFrame,
        prompts: pl.DataFrame,
        completions: pl.DataFrame,
        vectors: pl.DataFrame,
        reward_model: Folder,
        home: dg.ResourceParam[Home],
    ) -> dg.MaterializeResult[pl.DataFrame]:
        found = settings.score(pairs, load_vectors(Store(home.store), vectors), Ensemble.load(Path(reward_model.path)))
        weakest = pairs.join(found, on="pair_id").sort("score").head(5)
        texts = with_texts(weakest, prompts, completions)
        return table_result(
            found,
            PAIR_SCORES,
            {
                **series(
                    {
                        "mean_score": found["score"].mean(),
                        "mean_spread": found["spread"].mean(),
                        "share_below_zero": (found["score"] < 0).mean(),
                        "mean_p_correct": found["p_correct"].mean(),
                    }
                ),
                "categories": counts(found, "category"),
                "distribution": histogram(found["score"].to_numpy(), "score of every pair"),
                "lowest scores": preview(texts, ["prompt", "chosen", "rejected", "score", "p_correct", "pair_id"]),
            },
        )

    return scores
