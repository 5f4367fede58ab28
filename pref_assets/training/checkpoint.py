"""Checkpoints: immutable folders that say what is in them, and appear whole or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field

import pref_assets
from pref_assets.content import content_hash
from pref_assets.home import Home
from pref_assets.models.reference import identity
from pref_assets.settings import Settings, digest
from pref_assets.training.state import sync

MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"
PAIR_IDS = "pair_ids.txt"
PAIR_TABLE = "pairs.parquet"
LIBRARIES = ("torch", "transformers", "peft", "safetensors")

Kind = Literal["policy", "reward_model", "critique_reward_model"]


class Pinned(Settings):
    """A table as it was read."""

    key: list[str]
    """Asset key."""
    delta_version: int
    """Version of the Delta table, for time travel."""
    data_version: str
    """Content hash of its rows."""


class Origin(Settings):
    """An earlier checkpoint of the same pipeline that this one was made from."""

    name: str
    version: str

    def folder(self, home: str | Path, pipeline: str) -> Path:
        """Where it is."""
        return checkpoint_folder(home, pipeline, self.name, self.version)


class CheckpointInfo(Settings):
    """What a checkpoint is called and made from, beside its settings: the ``params`` of a training job."""

    pipeline: str
    name: str
    version: str
    """From ``checkpoint_version``."""
    base: str
    """Model reference of what training starts from."""
    reference: dict[str, Any] | None = None
    """Settings of the reference log-probabilities (policies only)."""
    reference_checkpoint: Origin | None = None
    """The reference, where it is a checkpoint."""
    start: Origin | None = None
    """Where training started, when that was a checkpoint."""
    subset: Pinned
    """The decisions that chose the pairs."""
    tables: dict[str, Pinned] = Field(default_factory=dict)
    """Further tables read (pairs, prompts, completions), by name."""
    code_version: str = pref_assets.__version__
    """Version of this project."""


class Manifest(Settings):
    """Everything needed to say what a checkpoint is and to list the exact rows behind it."""

    pipeline: str
    name: str
    version: str
    kind: Kind
    created: str
    """When it was published, ISO 8601 in UTC."""
    code_version: str
    libraries: dict[str, str]
    """Versions of the libraries that trained it."""
    config: dict[str, Any]
    """The settings, whole."""
    base: str
    base_identity: str
    """What the base was exactly: package version, hub revision or folder contents."""
    reference: dict[str, Any] | None
    reference_checkpoint: Origin | None = None
    start: Origin | None = None
    subset: Pinned
    tables: dict[str, Pinned]
    n_pairs: int
    pair_ids_sha256: str
    """Of ``pair_ids.txt``: the sorted ids, one a line."""
    files: dict[str, str]
    """sha256 of every other file in the folder."""
    metrics: dict[str, float]
    """Of the last step."""
    run: dict[str, Any]
    """Steps, tokens, seconds, peak memory, device."""


def checkpoint_version(
    config: Settings, rows: pl.DataFrame, base_identity: str, reference_key: str | None, start: Origin | None = None
) -> str:
    """Version (16 hex characters) of what training will produce: settings, rows and their texts, base, reference.

    Names of other entries and how often state is saved make no difference to the weights, so none to the version.

    Args:
        config: the checkpoint's settings.
        rows: ``TRAINING_ROWS``, in any order.
        base_identity: ``models.reference.identity`` of the base model.
        reference_key: key of the reference log-probabilities; null for a reward model.
        start: the checkpoint that training goes on from.
    """
    settings = config.model_dump(
        mode="json", exclude={"subset", "base", "start", "critiques", "samples", "update", "save_every", "max_loss"}
    )
    if settings.get("early_stop", ...) is None:
        del settings["early_stop"]
    return digest([settings, content_hash(rows), base_identity, reference_key, start and start.version])


def checkpoint_folder(home: str | Path, pipeline: str, name: str, version: str) -> Path:
    """Where a version is once it is published."""
    return Home(Path(home)).checkpoints / pipeline / name / version


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a published checkpoint.

    Raises:
        FileNotFoundError: no checkpoint there.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise FileNotFoundError(f"{folder} is no checkpoint: it has no {MANIFEST}")
    return Manifest.model_validate_json(path.read_text())


def check_base(manifest: Manifest) -> None:
    """Raises ``ValueError`` when the base model here is not the one the checkpoint was trained on."""
    here = identity(manifest.base)
    if here != manifest.base_identity:
        raise ValueError(
            f"checkpoint {manifest.name} {manifest.version} was trained on {manifest.base_identity}, "
            f"but {manifest.base} is {here} here; install that base model, or train again"
        )


def pair_ids(folder: str | Path) -> list[str]:
    """The pairs behind a checkpoint, sorted, checked against the manifest.

    Raises:
        ValueError: the list was changed after it was published.
    """
    path = Path(folder) / PAIR_IDS
    if sha256(path) != read_manifest(folder).pair_ids_sha256:
        raise ValueError(f"{path} is not the list that {MANIFEST} pins; the checkpoint was tampered with or damaged")
    return path.read_text().split()


def staging(final: Path) -> Path:
    """An empty folder beside ``final`` to fill before ``publish``; what killed processes left is removed.

    Only one process may call it for a version at a time (the work folder's lock sees to that).
    """
    for leftover in final.parent.glob(f".{final.name}.*.tmp"):
        shutil.rmtree(leftover)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    return temporary


def publish(temporary: Path, final: Path) -> None:
    """Makes a filled staging folder the checkpoint, in one step that survives a power cut.

    Raises:
        OSError: ``final`` exists already; checkpoints are never replaced.
    """
    for path in sorted(temporary.rglob("*")):
        sync(path)
    sync(temporary)
    temporary.rename(final)
    sync(final.parent)


def write_pair_ids(folder: Path, ids: Iterable[str]) -> str:
    """Writes ``pair_ids.txt``; its sha256."""
    path = folder / PAIR_IDS
    path.write_text("".join(f"{each}\n" for each in sorted(ids)))
    return sha256(path)


def write_manifest(
    folder: Path,
    kind: Kind,
    info: CheckpointInfo,
    config: Settings,
    base_identity: str,
    ids: Iterable[str],
    metrics: Mapping[str, float],
    run: Mapping[str, Any],
) -> Manifest:
    """Writes ``pair_ids.txt`` and, last, ``manifest.json`` with the hash of every file that is there."""
    ids = list(ids)
    hashes = {str(f.relative_to(folder)): sha256(f) for f in sorted(folder.rglob("*")) if f.is_file()}
    manifest = Manifest(
        **info.model_dump(),
        kind=kind,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        libraries={name: package_version(name) for name in LIBRARIES},
        config=config.model_dump(mode="json"),
        base_identity=base_identity,
        n_pairs=len(ids),
        pair_ids_sha256=write_pair_ids(folder, ids),
        files=hashes,
        metrics=dict(metrics),
        run=dict(run),
    )
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
    return manifest


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
