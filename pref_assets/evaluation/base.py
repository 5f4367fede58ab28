"""The joint of evaluation: tables, scores and checkpoints go in, ``EVALUATIONS`` rows with intervals come out.

An evaluation has two halves. Its *task* is heavy: it asks models (in a child process) and puts their answers into the
content-addressed store, one row an item, under a key made of the checkpoint's version and the settings. Its ``rows``
are light: they read the store and count. A second run therefore asks no model, a new checkpoint costs only itself, and
a killed task goes on where it was.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.content import content_hash
from pref_assets.evaluation.heldout import held_out, read_truth
from pref_assets.evaluation.intervals import RESAMPLES
from pref_assets.home import Home
from pref_assets.pairs.locations import find_files
from pref_assets.settings import CheckpointName, Reference, Settings
from pref_assets.training.checkpoint import Kind, Manifest
from pref_assets.training.job import Job, TaskName

AllOrNames = Literal["all"] | list[CheckpointName]


@dataclass(frozen=True)
class CheckpointRef:
    """A checkpoint to evaluate.

    Attributes:
        name: its entry in the pipeline file.
        version: of the immutable folder; makes cached results safe.
        kind: ``reward_model`` or ``policy``.
        folder: where it is.
        base: for a policy, the ``reference_logps`` entry it was trained from.
        reference: for a policy, the settings of that entry, dumped: base model, length, batching.
        beta: for a policy, the ``beta`` of its objective, where that has one.
        reference_version: for a policy whose reference is an earlier checkpoint, that one's version.
        reference_folder: where that is.
    """

    name: str
    version: str
    kind: Kind
    folder: Path
    base: str | None = None
    reference: Mapping[str, Any] | None = None
    beta: float | None = None
    reference_version: str | None = None
    reference_folder: Path | None = None

    @classmethod
    def of(cls, manifest: Manifest, folder: str | Path) -> "CheckpointRef":
        """The reference to a published checkpoint."""
        if manifest.kind != "policy":
            return cls(manifest.name, manifest.version, manifest.kind, Path(folder))
        earlier = manifest.reference_checkpoint
        return cls(
            manifest.name,
            manifest.version,
            manifest.kind,
            Path(folder),
            base=manifest.config.get("base"),
            reference=manifest.reference,
            beta=manifest.config.get("objective", {}).get("beta"),
            reference_version=earlier.version if earlier else None,
            # Checkpoints of a pipeline lie side by side: <pipeline>/<name>/<version>.
            reference_folder=Path(folder).parent.parent / earlier.name / earlier.version if earlier else None,
        )

    def dump(self) -> dict[str, Any]:
        """As JSON-serialisable job parameters."""
        return {
            **self.__dict__,
            "folder": str(self.folder),
            "reference": self.reference and dict(self.reference),
            "reference_folder": self.reference_folder and str(self.reference_folder),
        }

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> "CheckpointRef":
        """The reference that was dumped."""
        earlier = dumped.get("reference_folder")
        return cls(**{**dumped, "folder": Path(dumped["folder"]), "reference_folder": earlier and Path(earlier)})


@dataclass(frozen=True)
class Inputs:
    """What an evaluation may look at: whole tables, score tables by name, the checkpoints it is asked for, and those
    that it needs beside them (a judge, an opponent) by name."""

    pairs: pl.DataFrame
    prompts: pl.DataFrame
    completions: pl.DataFrame
    scores: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    checkpoints: Sequence[CheckpointRef] = ()
    others: Mapping[str, CheckpointRef] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ``ValueError`` when one base name stands for two models: "untrained" would then have two meanings."""
        seen: dict[str, CheckpointRef] = {}
        for each in self.checkpoints:
            if each.base is None or each.reference is None:
                continue
            other = seen.setdefault(each.base, each)
            assert other.reference is not None
            same = all(other.reference[name] == each.reference[name] for name in ("model", "max_length"))
            if not same or other.reference_version != each.reference_version:
                raise ValueError(
                    f"checkpoints {other.name!r} and {each.name!r} were trained from {each.base!r} under different "
                    "settings of it; train the older one again"
                )


class Evaluation(Settings):
    """Measures checkpoints or scorers. Subclasses set ``type`` and implement ``rows``, and ``tables`` for a task."""

    checkpoint_kind: ClassVar[Kind]
    """What ``checkpoints: all`` stands for."""
    task: ClassVar[TaskName]
    """The heavy half."""

    checkpoints: AllOrNames = "all"
    """Names of checkpoints, or `all` of the kind that this evaluation measures."""
    resamples: int = Field(default=RESAMPLES, ge=100)
    """Bootstrap resamples behind intervals that are not of proportions."""
    save_every: int = Field(default=64, ge=1)
    """Items a model answers between two commits to the store; a killed task loses at most this many."""
    seed: int = Field(default=0, ge=0)
    """Seed of samples and resamples."""
    truth: str | None = None
    """Truth files beside the data (path, glob or `package://…`), where faults were planted on purpose: adds accuracy
    against the true label, and slices by constraint family and fault."""

    def references(self) -> list[Reference]:
        """Names of other entries; ``checkpoints: all`` names none (the pipeline expands it by ``checkpoint_kind``)."""
        return [ref for ref in super().references() if ref.path != ("checkpoints",) or self.names() is not None]

    def names(self) -> list[str] | None:
        """The checkpoints asked for by name; null for all of the kind."""
        return None if self.checkpoints == "all" else list(self.checkpoints)

    def tables(self, inputs: Inputs) -> dict[str, pl.DataFrame]:
        """Tables that the task reads."""
        raise NotImplementedError

    def asks(self, inputs: Inputs) -> bool:
        """Whether the task has anything to do; by default where there is a checkpoint."""
        return bool(inputs.checkpoints)

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        """The ``EVALUATIONS`` table, from inputs and what the task has stored.

        Raises:
            NothingHeldOutError: there is nothing to measure on.
        """
        raise NotImplementedError

    def test_pairs(self, inputs: Inputs) -> pl.DataFrame:
        """The held-out pairs with truth, as ``heldout.held_out`` returns them."""
        truth = None
        if self.truth is not None:
            truth = read_truth([path for _, path in find_files(self.truth)])
        return held_out(inputs.pairs, inputs.completions, truth)


def evaluate(config: Evaluation, inputs: Inputs, home: Home, run: Callable[[Job], Mapping[str, Any]]) -> pl.DataFrame:
    """Runs both halves: the task through ``run`` (any compute resource), then the rows.

    Args:
        config: the evaluation.
        inputs: see ``Inputs``.
        home: where the store and the task's inputs live.
        run: runs a job where heavy work runs; not called where there is nothing to ask.
    """
    # Images that a bench brings are stored in, and read from, this home.
    with home.current():
        if config.asks(inputs):
            tables = config.tables(inputs)
            files = {name: str(_write_once(frame, home)) for name, frame in tables.items()}
            params = {
                "checkpoints": [each.dump() for each in inputs.checkpoints],
                "others": {name: each.dump() for name, each in sorted(inputs.others.items())},
            }
            run(
                Job(
                    task=config.task,
                    home=str(home.root),
                    config=config.model_dump(mode="json"),
                    inputs=files,
                    params=params,
                )
            )
        return config.rows(inputs, home)


def _write_once(frame: pl.DataFrame, home: Home) -> Path:
    """The frame as Parquet under a name made of its content, so that equal inputs make equal jobs."""
    folder = home.work / "inputs"
    path = folder / f"{content_hash(frame)}.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        frame.write_parquet(temporary)
        temporary.replace(path)
    return path
