"""A training job from its inputs to a published checkpoint, the same for policies and reward models."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from pref_assets.home import Home
from pref_assets.models.reference import identity
from pref_assets.training.checkpoint import (
    METRICS,
    CheckpointInfo,
    Kind,
    Manifest,
    checkpoint_folder,
    checkpoint_version,
    publish,
    read_manifest,
    staging,
    write_manifest,
)
from pref_assets.training.config import Training
from pref_assets.training.data import TRAINING_ROWS
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.job import Job, Reporter
from pref_assets.training.loop import MicroBatch, environment, fit, memory_advice
from pref_assets.training.plan import batch_plan
from pref_assets.training.state import WorkFolder

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Trainable:
    """A model with its data, ready for the loop.

    Attributes:
        parameters: what is trained, by a stable name.
        micro_batches: losses of given row numbers, in parts.
        write: puts weights, tokenizer and whatever else loading needs into a folder.
        notes: counts worth keeping (truncated completions and the like).
    """

    parameters: Mapping[str, "torch.nn.Parameter"]
    micro_batches: Callable[[Sequence[int]], Iterator[MicroBatch]]
    write: Callable[[Path], None]
    notes: dict[str, float] = field(default_factory=dict)


def train(
    job: Job,
    report: Reporter,
    kind: Kind,
    config: Training,
    reference_key: str | None,
    build: Callable[[pl.DataFrame], Trainable],
) -> dict[str, Any]:
    """Runs a training job, or finds its result: ``{"folder", "version", "reused", "pairs", "metrics", …}``.

    Raises:
        TrainingDataError: no pairs, or inputs that are not what the version was computed from.
        WorkFolderLockedError: another process is training this version.
        NonFiniteLossError, OutOfMemoryError: from the loop.
    """
    info = CheckpointInfo.model_validate(job.params)
    final = checkpoint_folder(job.home, info.pipeline, info.name, info.version)
    work = WorkFolder(training_folder(job.home, info.pipeline, info.name, info.version))
    if final.exists():
        shutil.rmtree(work.path, ignore_errors=True)
        return _result(final, read_manifest(final), reused=True)
    with work.locked():
        if final.exists():
            return _result(final, read_manifest(final), reused=True)
        rows = pl.read_parquet(job.inputs["rows"]).sort("pair_id")
        base_identity = identity(info.base)
        _check(rows, config, info, base_identity, reference_key)
        with memory_advice(config.batch_tokens):
            trainable = build(rows)
        ids = rows["pair_id"].to_list()
        plan = batch_plan(rows["stage"].to_list(), config)
        fitted = fit(trainable.parameters, plan, trainable.micro_batches, ids, config, work, report)
        run = {
            "steps": fitted.steps,
            "resumed_from": fitted.resumed_from,
            "tokens": fitted.tokens,
            "seconds": fitted.seconds,
            "tokens_per_second": fitted.tokens / fitted.seconds if fitted.seconds else 0.0,
            "trained_weights": sum(p.numel() for p in trainable.parameters.values()),
            "swapped_pairs": int(rows["swapped"].sum()),
            "pairs_with_margin": rows["margin"].count(),
            **trainable.notes,
            **environment(),
        }
        temporary = staging(final)
        trainable.write(temporary)
        shutil.copyfile(work.metrics_file, temporary / METRICS)
        manifest = write_manifest(temporary, kind, info, config, base_identity, ids, fitted.metrics, run)
        publish(temporary, final)
        shutil.rmtree(work.path)
    return _result(final, manifest, reused=False)


def training_folder(home: str | Path, pipeline: str, name: str, version: str) -> Path:
    """Inputs and resumable state of an unfinished version.

    Named by the version and not by the job, so that a later run with other run ids or table versions but the same
    content resumes it.
    """
    return Home(Path(home)).work / "checkpoints" / pipeline / name / version


def _check(
    rows: pl.DataFrame, config: Training, info: CheckpointInfo, base_identity: str, reference_key: str | None
) -> None:
    if rows.schema != TRAINING_ROWS:
        raise TrainingDataError(f"training rows have columns {dict(rows.schema)}, expected {dict(TRAINING_ROWS)}")
    if rows.is_empty():
        raise TrainingDataError(f"checkpoint {info.name!r}: subset {config.subset!r} selected no pairs")
    if rows["pair_id"].is_duplicated().any():
        raise TrainingDataError(f"checkpoint {info.name!r}: a pair occurs twice in the training rows")
    version = checkpoint_version(config, rows, base_identity, reference_key)
    if version != info.version:
        raise TrainingDataError(
            f"checkpoint {info.name!r}: the inputs have version {version}, the job says {info.version}; "
            "rows, settings or the base model changed after the job was made"
        )


def _result(folder: Path, manifest: Manifest, *, reused: bool) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "version": manifest.version,
        "reused": reused,
        "pairs": manifest.n_pairs,
        "metrics": manifest.metrics,
        **manifest.run,
    }
