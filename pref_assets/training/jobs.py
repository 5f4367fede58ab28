"""Training jobs: the parent's side. Writes the inputs where the child resumes, and names the version."""

import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from pref_assets.models.reference import identity
from pref_assets.training.checkpoint import CheckpointInfo, Origin, Pinned, checkpoint_version
from pref_assets.training.critique_reward import CritiqueRewardCheckpoint
from pref_assets.training.job import Job, TaskName
from pref_assets.training.policy import PolicyCheckpoint
from pref_assets.training.reference import ReferenceLogps
from pref_assets.training.reward_model import RewardModelCheckpoint
from pref_assets.training.run import training_folder


def policy_job(
    home: str | Path,
    pipeline: str,
    name: str,
    config: PolicyCheckpoint,
    rows: pl.DataFrame,
    reference: ReferenceLogps,
    reference_rows: pl.DataFrame,
    subset: Pinned,
    tables: Mapping[str, Pinned],
    start: Origin | None = None,
    reference_checkpoint: Origin | None = None,
) -> Job:
    """The ``train_policy`` job of a checkpoint; its version is ``job.params["version"]``.

    Args:
        home: the state folder.
        pipeline: name of the pipeline.
        name: name of the checkpoint.
        config: its settings.
        rows: ``TRAINING_ROWS`` from ``training_rows``.
        reference: settings of the entry that ``config.base`` names.
        reference_rows: ``REFERENCE_LOGPS``, at least those of the rows' completions and of the objective's parts.
        subset: the decisions table as read.
        tables: the other tables as read.
        start: the checkpoint to go on from; null to start at the base model.
        reference_checkpoint: the checkpoint that gave ``reference_rows``; null where the base model did.
    """
    parts = config.objective.parts(rows, config.seed)
    ids = pl.concat([rows["chosen_id"], rows["rejected_id"], parts["sequence_id"]]).unique()
    info = CheckpointInfo(
        pipeline=pipeline,
        name=name,
        version=checkpoint_version(
            config,
            rows,
            identity(reference.model),
            reference.key(reference_checkpoint.version if reference_checkpoint else None),
            start,
        ),
        base=reference.model,
        reference=reference.model_dump(mode="json"),
        reference_checkpoint=reference_checkpoint,
        start=start,
        subset=subset,
        tables=dict(tables),
    )
    wanted = reference_rows.filter(pl.col("completion_id").is_in(ids.implode()))
    inputs = {"rows": rows, "reference": wanted, "parts": parts}
    return _job(home, "train_policy", config, info, inputs)


def reward_model_job(
    home: str | Path,
    pipeline: str,
    name: str,
    config: RewardModelCheckpoint,
    rows: pl.DataFrame,
    subset: Pinned,
    tables: Mapping[str, Pinned],
    start: Origin | None = None,
) -> Job:
    """The ``train_reward_model`` job of a checkpoint; arguments as in ``policy_job``."""
    info = _info(pipeline, name, config, rows, subset, tables, start)
    return _job(home, "train_reward_model", config, info, {"rows": rows})


def critique_reward_job(
    home: str | Path,
    pipeline: str,
    name: str,
    config: CritiqueRewardCheckpoint,
    rows: pl.DataFrame,
    subset: Pinned,
    tables: Mapping[str, Pinned],
    start: Origin | None = None,
) -> Job:
    """The ``train_critique_reward`` job of a checkpoint; arguments as in ``policy_job``, ``start`` a policy."""
    info = _info(pipeline, name, config, rows, subset, tables, start)
    return _job(home, "train_critique_reward", config, info, {"rows": rows})


def _info(
    pipeline: str,
    name: str,
    config: RewardModelCheckpoint | CritiqueRewardCheckpoint,
    rows: pl.DataFrame,
    subset: Pinned,
    tables: Mapping[str, Pinned],
    start: Origin | None,
) -> CheckpointInfo:
    """Of a checkpoint without a reference."""
    return CheckpointInfo(
        pipeline=pipeline,
        name=name,
        version=checkpoint_version(config, rows, identity(config.model), None, start),
        base=config.model,
        start=start,
        subset=subset,
        tables=dict(tables),
    )


def _job(
    home: str | Path,
    task: TaskName,
    config: PolicyCheckpoint | RewardModelCheckpoint | CritiqueRewardCheckpoint,
    info: CheckpointInfo,
    inputs: Mapping[str, pl.DataFrame],
) -> Job:
    folder = training_folder(home, info.pipeline, info.name, info.version)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, frame in inputs.items():
        path = folder / f"{name}.parquet"
        # A child of an earlier run may be reading: replace the file, never rewrite it.
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        frame.write_parquet(temporary)
        temporary.replace(path)
        paths[name] = str(path)
    return Job(
        task=task,
        home=str(home),
        config=config.model_dump(mode="json"),
        inputs=paths,
        params=info.model_dump(mode="json"),
    )
