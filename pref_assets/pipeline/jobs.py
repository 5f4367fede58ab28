"""Jobs: the verbs of a pipeline. Ingestion runs by batch, everything after it on the whole."""

from typing import TYPE_CHECKING

import dagster as dg

from pref_assets.pipeline.naming import asset_key, job_name
from pref_assets.pipeline.spec import PipelineSpec

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

CURATED = (
    *("pairs", "reports/data_card", "reports/bias"),
    *("critiques", "embeddings", "clusters", "reward_models", "scores", "subsets", "reports/map", "reports/gallery"),
)
TRAINED = ("reference_logps", "samples", "checkpoints")
EVALUATED = ("evaluations", "reports/leaderboard", "trials")
"""Stages, or single assets of a stage."""
VERBS = {
    "curate": (
        CURATED,
        "Merge all batches and decide which pairs train: pairs and their reports, features, clusters, scores, subsets.",
    ),
    "train": (TRAINED, "Reference log-probabilities and checkpoints, from the subsets as they are."),
    "evaluate": (EVALUATED, "Evaluations and the leaderboard, of the checkpoints as they are."),
    "everything": ((*CURATED, *TRAINED, *EVALUATED), "Every stage after ingestion."),
}


def jobs(spec: PipelineSpec) -> "list[UnresolvedAssetJobDefinition]":
    """The jobs of a pipeline that have something to run."""
    ingest = [
        dg.define_asset_job(
            ingest_job(spec.name, source),
            selection=ingested(spec.name, source),
            description=f"Read one batch of source `{source}` into raw rows and records.",
            tags={"pipeline": spec.name},
        )
        for source in spec.sources
    ]
    have = _stages(spec)
    return ingest + [
        dg.define_asset_job(
            job_name(spec.name, verb),
            selection=(before_training if verb == "curate" else stages)(spec.name, *(s for s in of if s in have)),
            description=text,
            tags={"pipeline": spec.name},
        )
        for verb, (of, text) in VERBS.items()
        if any(stage in have for stage in of)
    ]


def ingest_job(pipeline: str, source: str) -> str:
    return job_name(pipeline, f"ingest_{source}")


def ingested(pipeline: str, source: str) -> dg.AssetSelection:
    """Raw rows and records of a source."""
    from pref_assets.pipeline.assets.raw import RECORD_TABLES

    keys = [asset_key(pipeline, "raw", source)]
    keys += [asset_key(pipeline, "records", f"{source}_{table}") for table in RECORD_TABLES]
    return dg.AssetSelection.assets(*keys)


def stages(pipeline: str, *names: str) -> dg.AssetSelection:
    """Every asset of these stages, or single assets of a stage, that can be computed."""
    return dg.AssetSelection.key_prefixes(*([pipeline, *name.split("/")] for name in names)).materializable()


def before_training(pipeline: str, *names: str) -> dg.AssetSelection:
    """The same without what reads a trained checkpoint or its base, which is not there yet."""
    trained = dg.AssetSelection.key_prefixes(*([pipeline, stage] for stage in TRAINED))
    return stages(pipeline, *names) - trained.downstream()


def _stages(spec: PipelineSpec) -> set[str]:
    """Stages, and single assets of the reports, that there are."""
    blocks = {block for block, _, _ in spec.entries()} - {"sources"}
    always = {"pairs", "reports/data_card", "reports/bias"}
    always |= {"reports/map"} if spec.clusters else set()
    always |= {"reports/gallery"} if spec.shows_images() else set()
    return blocks | always | ({"reports/leaderboard"} if spec.evaluations else set())
