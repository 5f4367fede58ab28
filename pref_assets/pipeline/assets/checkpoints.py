"""Checkpoints: reference log-probabilities once for each completion, then models trained on subsets."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.features import Store
from pref_assets.home import Home
from pref_assets.pairs.schema import (
    COMPLETIONS,
    CRITIQUES,
    MESSAGES,
    ONLINE_SAMPLES,
    PAIRS,
    PROMPTS,
    REFERENCE_LOGPS,
)
from pref_assets.pipeline.assets.common import Assets, named_inputs, pairs_inputs, table_result, taken
from pref_assets.pipeline.inputs import write_input
from pref_assets.pipeline.metadata import Metadata, bounded, preview, series
from pref_assets.pipeline.naming import FOLDER_IO, GPU_POOL, TABLE_IO, TRAINING, asset_key, asset_spec, describe
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.pipeline.tracked import MlflowLink, link_of, remember
from pref_assets.pool import Pool
from pref_assets.resources.compute import Compute
from pref_assets.resources.folders import Folder
from pref_assets.resources.tracking import TrackedRun, Tracking
from pref_assets.scoring.reward.items import completion_items
from pref_assets.settings import digest
from pref_assets.tables import Versioned
from pref_assets.training import (
    CheckpointConfig,
    CritiqueRewardCheckpoint,
    PolicyCheckpoint,
    ReferenceLogps,
    RewardModelCheckpoint,
)
from pref_assets.training.checkpoint import METRICS, Manifest, Origin, Pinned, checkpoint_folder, read_manifest
from pref_assets.training.critique_reward import critique_texts
from pref_assets.training.data import ScoreColumn, TextSource, training_rows
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.job import Job
from pref_assets.training.jobs import critique_reward_job, policy_job, reward_model_job
from pref_assets.training.online.rows import online_reference, online_rows
from pref_assets.training.online.updates import UpdateConfig
from pref_assets.training.reference import reference_rows
from pref_assets.training.run import training_folder

_TABLES = {"pairs": PAIRS, "prompts": PROMPTS, "completions": COMPLETIONS}
SAMPLES = "samples"
"""Input of a policy that learns from samples."""
_VERSIONED = dg.PythonObjectDagsterType(Versioned)
_STEP_SERIES = ("loss", "rewards/accuracies", "rewards/margins", "accuracy", "margin", "bt_loss", "critique_loss")
_RUN_SERIES = ("steps", "seconds", "tokens_per_second", "peak_rss_mib", "peak_cuda_mib")


def build(spec: PipelineSpec) -> Assets:
    return [_reference_logps(spec, name, settings) for name, settings in spec.reference_logps.items()] + [
        _checkpoint(spec, name, settings) for name, settings in spec.checkpoints.items()
    ]


def _reference_logps(spec: PipelineSpec, name: str, settings: ReferenceLogps) -> dg.AssetsDefinition:
    policies, scored, trained = spec.referring(name), spec.scored(name), spec.stages_read(name)
    subsets = list(dict.fromkeys(subset for subset, _ in trained))
    of = f"subsets {', '.join(f'`{each}`' for each in subsets) or '(none yet)'}"
    origin = [] if settings.checkpoint is None else [settings.checkpoint]
    by = f"checkpoint `{settings.checkpoint}`" if origin else f"`{settings.model}`"

    definition = asset_spec(
        spec.name,
        "reference_logps",
        name,
        description=describe(
            f"Log-probabilities of completions under {by}, computed once for each.",
            inputs="every pair, because scores read them" if scored else f"pairs of the {of}",
            settings=settings,
            table=REFERENCE_LOGPS,
        ),
        settings=settings,
        table=REFERENCE_LOGPS,
        owner=TRAINING,
    )
    if wanted := _wanted(policies):
        definition["code_version"] = digest([definition["code_version"], wanted])

    @dg.asset(
        **definition,
        ins={
            **pairs_inputs(spec.name, *_TABLES),
            **named_inputs(spec.name, "subsets", subsets),
            **named_inputs(spec.name, "checkpoints", origin),
        },
        io_manager_key=TABLE_IO,
        pool=GPU_POOL,
    )
    def reference_logps(
        context: dg.AssetExecutionContext,
        pairs: pl.DataFrame,
        prompts: pl.DataFrame,
        completions: pl.DataFrame,
        compute: Compute,
        home: dg.ResourceParam[Home],
        **inputs: Any,
    ) -> dg.MaterializeResult[pl.DataFrame]:
        decisions = taken(inputs, "subsets")
        rows = {
            (subset, stage): training_rows(decisions[subset], pairs, prompts, completions, stage=stage)
            for subset, stage in trained
        }
        texts = _sequences(rows, policies)
        if scored:
            pool = Pool(pairs, completions, prompts=prompts)
            every = completion_items(pool, seen=True).rename({"id": "completion_id"})
            texts = pl.concat([every, texts.select(every.columns)]).unique("completion_id").sort("completion_id")
        ids = texts["completion_id"].to_list()
        folders: dict[str, Folder] = taken(inputs, "checkpoints")
        folder = folders.get(settings.checkpoint or "")
        version = folder.version if folder else None
        store, done = Store(home.store), {"computed": 0, "reused": len(ids), "seconds": 0.0, "tokens_per_second": 0.0}
        if ids and store.missing(settings.kind, settings.key(version), ids):
            job = Job(
                task="reference_logps",
                home=str(home.root),
                config=settings.model_dump(mode="json"),
                inputs={"completions": write_input(home, texts, "completion_id")},
                params={} if folder is None else {"folder": folder.path, "version": folder.version},
            )
            done = compute.run(context, job)
        found = reference_rows(store, settings, ids, version) if ids else REFERENCE_LOGPS.empty()
        counted = {each: done[each] for each in ("computed", "reused", "seconds", "tokens_per_second")}
        numbers = series({**counted, "truncated": found["truncated"].sum(), "mean_logp": found["logp"].mean()})
        shown = preview(found.drop("token_logps"))
        return table_result(found, REFERENCE_LOGPS, {**numbers, "preview": shown})

    return reference_logps


def _wanted(policies: Sequence[PolicyCheckpoint]) -> list[list[Any]]:
    """What policies ask of a reference beyond both sides of their subsets: a stage, an objective's further sequences.

    Which of these there are is no input of the asset, yet it must be made again when it changes.
    """
    asked = []
    for each in policies:
        further = each.objective.referred_parts
        if each.stage is not None or further:
            asked.append([each.subset, each.stage, *([each.objective.digest(), each.seed] if further else [])])
    return sorted(asked, key=str)


def _sequences(
    rows: Mapping[tuple[str, int | None], pl.DataFrame], policies: Sequence[PolicyCheckpoint]
) -> pl.DataFrame:
    """What policies need of the reference, each once: frame(completion_id, prompt, messages).

    Both sides of the training rows, by subset and stage, and the objectives' further sequences.
    """
    columns: dict[str, pl.DataType] = {"completion_id": pl.String(), "prompt": MESSAGES, "messages": MESSAGES}
    parts = [pl.DataFrame(schema=columns)]
    for frame in rows.values():
        parts.append(frame.select(completion_id="chosen_id", prompt="prompt", messages="chosen"))
        asked = pl.coalesce("rejected_prompt", "prompt")
        parts.append(frame.select(completion_id="rejected_id", prompt=asked, messages="rejected"))
    for policy in policies:
        if policy.objective.referred_parts:
            # A pair's further sequences may come from its neighbours in the run.
            further = policy.objective.parts(rows[policy.subset, policy.stage], policy.seed)
            wanted = further.filter(~pl.col("part").is_in(list(policy.objective.parts_without_reference)))
            parts.append(wanted.select(completion_id="sequence_id", prompt="prompt", messages="completion"))
    return pl.concat(parts).unique("completion_id", keep="any").sort("completion_id")


def _checkpoint(spec: PipelineSpec, name: str, settings: CheckpointConfig) -> dg.AssetsDefinition:
    policy = settings if isinstance(settings, PolicyCheckpoint) else None
    bases = [policy.base] if policy and not (policy.objective.reference_free or policy.samples) else []
    scores = spec.needs(settings, "scores")
    earlier = spec.earlier(settings)
    columns, critiques = _score_columns(settings), spec.needs(settings, "critiques")
    versioned = {}
    if policy and policy.samples:
        key = asset_key(spec.name, "samples", policy.samples)
        versioned[SAMPLES] = dg.AssetIn(key=key, dagster_type=_VERSIONED)
    for each in critiques:
        key = asset_key(spec.name, "critiques", each)
        versioned[CRITIQUES.name] = dg.AssetIn(key=key, dagster_type=_VERSIONED)
    what = "A policy aligned" if policy else "A reward model fine-tuned"
    read = [f"subset `{settings.subset}`, its pairs and texts", *(f"reference_logps `{b}`" for b in bases)]
    read += [f"samples `{policy.samples}`"] if policy and policy.samples else []
    read += [f"critiques `{each}`" for each in critiques]
    read += [f"scores `{each}`" for each in scores] + [f"checkpoint `{each}`" for each in earlier]

    @dg.asset(
        **asset_spec(
            spec.name,
            "checkpoints",
            name,
            description=describe(
                f"{what} on subset `{settings.subset}`: an immutable folder of safetensors with a manifest.",
                inputs=", ".join(read),
                settings=settings,
            ),
            settings=settings,
            owner=TRAINING,
            tags={"kind": settings.type},
        ),
        ins={
            **pairs_inputs(spec.name, *_TABLES),
            "subset": dg.AssetIn(key=asset_key(spec.name, "subsets", settings.subset)),
            **named_inputs(spec.name, "reference_logps", bases),
            **named_inputs(spec.name, "scores", scores),
            **named_inputs(spec.name, "checkpoints", earlier),
            **versioned,
        },
        io_manager_key=FOLDER_IO,
        pool=GPU_POOL,
    )
    def checkpoint(
        context: dg.AssetExecutionContext,
        subset: Versioned,
        pairs: Versioned,
        prompts: Versioned,
        completions: Versioned,
        compute: Compute,
        tracking: Tracking,
        home: dg.ResourceParam[Home],
        **inputs: Any,
    ) -> dg.MaterializeResult[Folder]:
        tables = {"pairs": pairs, "prompts": prompts, "completions": completions}
        pin = _pin([spec.name, "subsets", settings.subset], subset)
        pins = {key: _pin([spec.name, "pairs", key], table) for key, table in tables.items()}
        scored, folders = taken(inputs, "scores"), taken(inputs, "checkpoints")
        origins = {each: Origin(name=each, version=folder.version) for each, folder in folders.items()}
        drawn: Versioned | None = inputs.get(SAMPLES)
        said: Versioned | None = inputs.get(CRITIQUES.name)
        if said is not None:
            pins[CRITIQUES.name] = _pin([spec.name, "critiques", critiques[0]], said)
        if drawn is not None and policy and policy.update:
            pins[ONLINE_SAMPLES.name] = _pin([spec.name, "samples", str(policy.samples)], drawn)
            rows = _learned(name, policy.update, drawn, prompts)
        else:
            rows = training_rows(
                subset.rows.collect(),
                pairs.rows.collect(),
                prompts.rows.collect(),
                completions.rows.collect(),
                columns=columns,
                scores=scored,
                stage=policy.stage if policy else None,
                texts=_texts(settings, said),
            )
        if policy and policy.stage is not None:
            _check_stages(name, settings.subset, spec.stages_of(name), subset.rows)
        if isinstance(settings, RewardModelCheckpoint):
            start = origins.get(settings.start or "")
            job = reward_model_job(home.root, spec.name, name, settings, rows, pin, pins, start)
        elif isinstance(settings, CritiqueRewardCheckpoint):
            start = origins.get(settings.start or "")
            job = critique_reward_job(home.root, spec.name, name, settings, rows, pin, pins, start)
        else:
            reference = spec.reference_logps[settings.base]
            logps = taken(inputs, "reference_logps").get(settings.base, REFERENCE_LOGPS.empty())
            if drawn is not None:
                logps = online_reference(drawn.rows.collect())
            start, referred = (origins.get(each or "") for each in (spec.start_of(settings), reference.checkpoint))
            job = policy_job(home.root, spec.name, name, settings, rows, reference, logps, pin, pins, start, referred)
        folder, link, notes = _trained(context, job, compute, tracking, settings)
        manifest = read_manifest(folder)
        content = digest(manifest.files)
        return dg.MaterializeResult(
            value=Folder(str(folder), manifest.version, content),
            data_version=dg.DataVersion(content),
            metadata=bounded({**_facts(manifest, folder, content), **_link_metadata(link), **notes}),
        )

    return checkpoint


def _score_columns(settings: CheckpointConfig) -> dict[str, ScoreColumn]:
    """Numbers of pairs that the loss reads from score tables."""
    if isinstance(settings, CritiqueRewardCheckpoint):
        return {}
    return (settings.objective if isinstance(settings, PolicyCheckpoint) else settings).score_columns()


def _texts(settings: CheckpointConfig, critiques: Versioned | None) -> TextSource | None:
    """What makes the texts of pairs that the loss reads."""
    if isinstance(settings, PolicyCheckpoint):
        return settings.objective.texts
    return None if critiques is None else critique_texts(critiques.rows.collect())


def _learned(name: str, update: UpdateConfig, drawn: Versioned, prompts: Versioned) -> pl.DataFrame:
    """Training rows of rewarded samples.

    Raises:
        TrainingDataError: no group of answers teaches anything.
    """
    samples = drawn.rows.collect()
    rows = online_rows(update, samples, prompts.rows.collect())
    if rows.is_empty():
        raise TrainingDataError(
            f"checkpoint {name!r}: of {samples['prompt_id'].n_unique()} prompts, none has answers that update "
            f"`{update.type}` can learn from: their rewards do not differ, or are too low. Use more prompts or "
            "`answers`, a higher temperature, or a reward that tells answers apart"
        )
    return rows


def _check_stages(name: str, subset: str, stages: Sequence[int], decisions: pl.LazyFrame) -> None:
    """Raises ``TrainingDataError`` when a stage has no pairs: the first policy of a curriculum looks at all of them."""
    counted = dict(decisions.filter("selected").group_by("stage").len().sort("stage").collect().iter_rows())
    if lacking := [str(stage) for stage in stages if stage not in counted]:
        there = ", ".join(f"{each}: {n} pairs" for each, n in counted.items())
        raise TrainingDataError(
            f"checkpoint {name!r}: subset {subset!r} has no pairs of stage {', '.join(lacking)}; its stages are "
            f"{there or 'none'}"
        )


def _trained(
    context: dg.AssetExecutionContext, job: Job, compute: Compute, tracking: Tracking, settings: CheckpointConfig
) -> tuple[Path, MlflowLink | None, Metadata]:
    """The job's checkpoint: found, or trained now and logged to MLflow."""
    pipeline, name, version = (str(job.params[each]) for each in ("pipeline", "name", "version"))
    folder = checkpoint_folder(job.home, pipeline, name, version)
    link = link_of(folder)
    if folder.exists() and (link is not None or not tracking.enabled):
        shutil.rmtree(training_folder(job.home, pipeline, name, version), ignore_errors=True)
        return folder, link, {"reused": True}
    reused = folder.exists()
    tags = {"checkpoint.version": version, "subset.data_version": job.params["subset"]["data_version"]}
    with tracking.run(context, settings.model_dump(mode="json"), tags) as run:
        done = compute.run(context, job)
        log_checkpoint(run, Path(done["folder"]), settings)
    if run.run_id and run.url and run.problem is None:
        link = MlflowLink(run.run_id, run.url)
        remember(folder, link)
    return folder, link, {"reused": reused, **run.metadata()}


def log_checkpoint(run: TrackedRun, folder: Path, settings: CheckpointConfig) -> None:
    """Step metrics, data and the model of a published checkpoint."""
    manifest = read_manifest(folder)
    run.metrics_file(folder / METRICS)
    for pinned in (manifest.subset, *manifest.tables.values()):
        run.dataset("/".join(pinned.key), pinned.data_version, f"{'/'.join(pinned.key)}@{pinned.delta_version}")
    run.model(folder, settings.type)


def _pin(key: list[str], table: Versioned) -> Pinned:
    """The version that is read, whatever is written meanwhile."""
    return Pinned(key=key, delta_version=table.snapshot.version, data_version=table.snapshot.content_hash)


def _facts(manifest: Manifest, folder: Path, content: str) -> Metadata:
    numbers = {each: manifest.run.get(each) for each in _RUN_SERIES}
    numbers |= {each: manifest.metrics.get(each) for each in _STEP_SERIES}
    return {
        **series({"pairs": manifest.n_pairs, **numbers}),
        "folder": dg.MetadataValue.path(str(folder)),
        "version": manifest.version,
        "sha256": content,
        "device": str(manifest.run.get("device", "")),
        "subset": f"{'/'.join(manifest.subset.key)} version {manifest.subset.delta_version}",
    }


def _link_metadata(link: MlflowLink | None) -> Metadata:
    return {} if link is None else {"mlflow": dg.MetadataValue.url(link.url)}
