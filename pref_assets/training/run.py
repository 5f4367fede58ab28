"""A training job from its inputs to a published checkpoint, the same for policies and reward models."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.home import Home
from pref_assets.models.reference import identity
from pref_assets.training.capacity import Sizes, check_disk, check_memory, check_weights, environment, peak_flops
from pref_assets.training.checkpoint import (
    METRICS,
    PAIR_TABLE,
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
from pref_assets.training.early_stop import heldout_rows
from pref_assets.training.errors import TrainingDataError
from pref_assets.training.job import Job, Reporter
from pref_assets.training.loop import Loop, MicroBatches, memory_advice
from pref_assets.training.plan import batch_plan
from pref_assets.training.state import WorkFolder
from pref_assets.training.world import World

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
        carried: named tensors beside the parameters that ``micro_batches`` changes in place (running means). They are
            saved and restored with the state. Where several processes train, each sees its own rows of a step, and
            ``carried`` becomes what it was before plus the mean change, weighted by rows; so a change must be a mean
            over the rows it saw. Left alone while held-out pairs are measured.
        validate: for early stopping: ``{"loss": …}`` on held-out data of its own. Without it the mean loss on prompts
            that are held out of the rows counts (``early_stop.heldout``).
        flops_per_token: ``capacity.flops_per_token`` of the model, to say how well a GPU was used.
    """

    parameters: Mapping[str, "torch.nn.Parameter"]
    micro_batches: MicroBatches
    write: Callable[[Path], None]
    notes: dict[str, float] = field(default_factory=dict)
    carried: Mapping[str, "torch.Tensor"] = field(default_factory=dict)
    validate: Callable[[], dict[str, float]] | None = None
    flops_per_token: float | None = None
    derived: "Mapping[str, NDArray[np.float64]]" = field(default_factory=dict)


def train(
    job: Job,
    report: Reporter,
    kind: Kind,
    config: Training,
    reference_key: str | None,
    build: Callable[[pl.DataFrame], Trainable],
) -> dict[str, Any]:
    """Runs a training job, or finds its result: ``{"folder", "version", "reused", "pairs", "metrics", …}``.

    Under a launcher every process calls it; the main one writes and reports, and all return the same.

    Raises:
        TrainingDataError: no pairs, or inputs that are not what the version was computed from.
        WorkFolderLockedError: another run is training this version.
        DiskSpaceError, OutOfMemoryError: the machine is plainly too small, by an estimate before the first step.
        NonFiniteLossError, DivergedError, OutOfMemoryError: from the loop.
    """
    info = CheckpointInfo.model_validate(job.params)
    final = checkpoint_folder(job.home, info.pipeline, info.name, info.version)
    work = WorkFolder(training_folder(job.home, info.pipeline, info.name, info.version))
    world = World.join()
    with ExitStack() as stack:
        if world.share(lambda: _published(final, work))[0]:
            return _result(final, read_manifest(final), reused=True)
        world.each(lambda: stack.enter_context(work.locked()) if world.main else None)
        if world.share(final.exists)[0]:
            return _result(final, read_manifest(final), reused=True)
        manifest = _train(job, report, kind, config, reference_key, build, info, final, work, world)
    return _result(final, manifest, reused=False)


def pair_table(rows: pl.DataFrame, derived: "Mapping[str, NDArray[np.float64]]") -> pl.DataFrame:
    """How each pair counted in training, by pair id: label, weight, margin, stage, the numbers that the loss read of it
    and those that follow from them."""
    shown = rows.select("pair_id", "p_chosen", "weight", "margin", "stage", "swapped")
    named = rows.select("pair_id", "columns").explode("columns").drop_nulls("columns").unnest("columns")
    if not named.is_empty():
        wide = named.pivot("name", index="pair_id", values="value")
        shown = shown.join(wide, on="pair_id", how="left", maintain_order="left")
    return shown.with_columns(pl.Series(name, values) for name, values in derived.items())


def _published(final: Path, work: WorkFolder) -> bool:
    """Whether the checkpoint is there; what is left of the work for it is removed then."""
    if final.exists():
        shutil.rmtree(work.path, ignore_errors=True)
        return True
    return False


def _train(
    job: Job,
    report: Reporter,
    kind: Kind,
    config: Training,
    reference_key: str | None,
    build: Callable[[pl.DataFrame], Trainable],
    info: CheckpointInfo,
    final: Path,
    work: WorkFolder,
    world: World,
) -> Manifest:
    """Trains and publishes, with the lock held."""
    rows = pl.read_parquet(job.inputs["rows"]).sort("pair_id")
    base_identity = identity(info.base)
    world.each(lambda: _check(rows, config, info, base_identity, reference_key))
    trainable = world.each(lambda: _build(build, rows, config, info, work, world))
    heldout: list[int] = []
    if config.early_stop and trainable.validate is None:
        heldout = heldout_rows(rows, config.early_stop, config.seed)
    ids = rows["pair_id"].to_list()
    loop = Loop(
        trainable.parameters,
        trainable.micro_batches,
        ids,
        config,
        trainable.carried,
        heldout,
        trainable.validate,
        trainable.flops_per_token,
        peak_flops(),
        world,
    )
    fitted = loop.fit(_plan(rows, config, heldout), work, report)
    machines = world.share(environment)
    speed = fitted.tokens / fitted.seconds if fitted.seconds else 0.0
    run = {
        "steps": fitted.steps,
        "resumed_from": fitted.resumed_from,
        "tokens": fitted.tokens,
        "seconds": fitted.seconds,
        "tokens_per_second": speed,
        "trained_weights": sum(p.numel() for p in trainable.parameters.values()),
        "swapped_pairs": int(rows["swapped"].sum()),
        "pairs_with_margin": rows["margin"].count(),
        "heldout_pairs": len(heldout),
        **loop.utilisation(speed),
        **fitted.notes,
        **trainable.notes,
        **_machine(machines),
    }
    published = world.each(
        lambda: (
            _publish(trainable, kind, info, config, base_identity, rows, fitted.metrics, run, work, final)
            if world.main
            else None
        )
    )
    return published or read_manifest(final)


def _build(
    build: Callable[[pl.DataFrame], Trainable],
    rows: pl.DataFrame,
    config: Training,
    info: CheckpointInfo,
    work: WorkFolder,
    world: World,
) -> Trainable:
    """The model, after a look at whether the machine has room for it."""
    import torch

    from pref_assets.models.loading import local_path

    device = "cuda" if torch.cuda.is_available() else "cpu"
    check_weights(Path(local_path(info.base)), device, world.size)
    with memory_advice(config.batch_tokens):
        trainable = build(rows)
    sizes = Sizes.of(trainable.parameters.values(), trainable.carried.values())
    check_memory(sizes, device, world.size)
    if world.main:
        existing = work.state_file.stat().st_size if work.state_file.exists() else 0
        check_disk(work.path, sizes, config.early_stop is not None, existing)
    return trainable


def _plan(rows: pl.DataFrame, config: Training, heldout: Sequence[int]) -> list[list[int]]:
    """Row numbers of every step, without those that are held out."""
    held = set(heldout)
    kept = [row for row in range(len(rows)) if row not in held]
    stages = rows["stage"].to_list()
    return [[kept[at] for at in batch] for batch in batch_plan([stages[row] for row in kept], config)]


def _machine(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Where it ran: devices and hosts by rank, the largest memory of any process."""
    peaks = {name: max(each[name] for each in found) for name in found[0] if name.startswith("peak_")}
    return {**found[0], **peaks, "world_size": len(found), "hosts": len({each["host"] for each in found})}


def _publish(
    trainable: Trainable,
    kind: Kind,
    info: CheckpointInfo,
    config: Training,
    base_identity: str,
    rows: pl.DataFrame,
    metrics: Mapping[str, float],
    run: Mapping[str, Any],
    work: WorkFolder,
    final: Path,
) -> Manifest:
    temporary = staging(final)
    trainable.write(temporary)
    pair_table(rows, trainable.derived).write_parquet(temporary / PAIR_TABLE)
    shutil.copyfile(work.metrics_file, temporary / METRICS)
    manifest = write_manifest(temporary, kind, info, config, base_identity, rows["pair_id"], metrics, run)
    publish(temporary, final)
    shutil.rmtree(work.path)
    return manifest


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
    version = checkpoint_version(config, rows, base_identity, reference_key, info.start)
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
