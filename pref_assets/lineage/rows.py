"""The exact rows behind a checkpoint, from the table versions that its manifest pins."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.home import Home
from pref_assets.lineage.model import AmbiguousQueryError, LineageError, UnknownQueryError
from pref_assets.lineage.tables import filled
from pref_assets.pairs.labels import with_decisions
from pref_assets.pairs.schema import DECISIONS
from pref_assets.tables import TableStore
from pref_assets.training.checkpoint import MANIFEST, Manifest, Pinned, pair_ids, read_manifest

TABLES = ("pairs", "prompts", "completions")
"""Tables that a manifest must pin for its rows to be listed."""

_DECIDED = ("pair_id", "p_chosen", "weight", "stage", "margin")

CHUNK = 2000
"""Pairs whose texts are in memory at once."""


def manifests(home: Home, pipeline: str = "*") -> list[tuple[Path, Manifest]]:
    """Every published checkpoint with its folder, by name and then by age. Unfinished ones are not seen."""
    files = home.checkpoints.glob(f"{pipeline}/*/*/{MANIFEST}")
    folders = [file.parent for file in files if not file.parent.name.startswith(".")]
    found = [(folder, read_manifest(folder)) for folder in folders]
    return sorted(found, key=lambda each: (each[1].pipeline, each[1].name, each[1].created, each[1].version))


def find_checkpoint(home: Home, checkpoint: str, pipeline: str | None = None) -> tuple[Path, Manifest]:
    """The published checkpoint that ``name`` or ``name@version`` (or its start) names; the newest of a bare name.

    Args:
        home: the state folder.
        checkpoint: what to find; ``pipeline/name`` works too.
        pipeline: where to look; null looks in all.

    Raises:
        UnknownQueryError: there is none; lists those there are.
        AmbiguousQueryError: several pipelines or versions answer.
    """
    wanted, _, version = checkpoint.partition("@")
    *above, name = wanted.split("/")
    inside = above[0] if above else pipeline
    everything = manifests(home, inside or "*")
    found = [each for each in everything if each[1].name == name and each[1].version.startswith(version)]
    if not found:
        known = ", ".join(f"{m.pipeline}/{m.name}@{m.version}" for _, m in everything) or "none"
        raise UnknownQueryError(f"no checkpoint {checkpoint!r} in {home.checkpoints} (there are: {known})")
    names = {(m.pipeline, m.name) for _, m in found} if not version else {(m.pipeline, m.version) for _, m in found}
    if len(names) > 1:
        candidates = [(f"{m.pipeline}/{m.name}@{m.version}", f"{m.n_pairs} pairs, {m.created}") for _, m in found]
        raise AmbiguousQueryError(f"several checkpoints answer to {checkpoint!r}:", candidates)
    return found[-1]


def rows(home: Home, checkpoint: str, pipeline: str | None = None) -> Iterator[dict[str, Any]]:
    """The training pairs of a checkpoint as they were when it was trained, sorted by pair id.

    Later changes of the data do not matter: the manifest's versions are read. Before the first row, the pair ids are
    checked against the manifest's sha256, and against the pinned subset's decisions.

    Args:
        home, checkpoint, pipeline: see ``find_checkpoint``.

    Yields:
        pair_id; prompt, chosen, rejected (``[{role, content}]``), p_chosen, as they trained; weight; stage; margin;
        swapped, whether the sides are not those of the pairs table; provenance (``[{source, uri, row, batch}]``).

    Raises:
        LineageError: the list of ids, the pinned tables and the manifest do not agree.
        MissingTableError: a pinned version is gone.
    """
    folder, manifest = find_checkpoint(home, checkpoint, pipeline)
    ids = _checked_ids(folder, manifest)
    store = TableStore(home.tables)
    decisions = filled(_pinned(store, manifest.subset), DECISIONS).filter("selected").select(_DECIDED).collect()
    chosen = decisions["pair_id"].sort()
    if chosen.to_list() != ids:
        raise LineageError(
            f"{_named(manifest)}: the {len(ids)} pairs it trained on are not the {len(chosen)} that the pinned subset "
            f"selects (version {manifest.subset.delta_version} of {'/'.join(manifest.subset.key)})"
        )
    if absent := [name for name in TABLES if name not in manifest.tables]:
        raise LineageError(f"{_named(manifest)}: its manifest pins no version of {', '.join(absent)}")
    pairs, prompts, completions = (_pinned(store, manifest.tables[name]) for name in TABLES)
    return _texts(manifest, ids, decisions, pairs, prompts, completions)


def _checked_ids(folder: Path, manifest: Manifest) -> list[str]:
    try:
        ids = pair_ids(folder)
    except (ValueError, FileNotFoundError) as error:
        raise LineageError(f"{_named(manifest)}: {error}") from error
    return sorted(ids)


def _pinned(store: TableStore, pin: Pinned) -> pl.LazyFrame:
    return store.scan(pin.key, version=pin.delta_version)


def _texts(
    manifest: Manifest,
    ids: list[str],
    decisions: pl.DataFrame,
    pairs: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
) -> Iterator[dict[str, Any]]:
    messages = completions.select("completion_id", "messages")
    wanted = pairs.select("pair_id", "prompt_id", "chosen_id", "rejected_id", "p_chosen", "provenance")
    columns = ("pair_id", "prompt", "chosen", "rejected", *_DECIDED[1:], "swapped", "provenance")
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        frame = (
            with_decisions(wanted.filter(pl.col("pair_id").is_in(part)), decisions.lazy())
            .join(prompts.select("prompt_id", prompt="messages"), on="prompt_id")
            .join(messages.rename({"completion_id": "chosen_id", "messages": "chosen"}), on="chosen_id")
            .join(messages.rename({"completion_id": "rejected_id", "messages": "rejected"}), on="rejected_id")
            .select(columns)
            .sort("pair_id")
            .collect()
        )
        if frame.height < len(part):
            absent = sorted(set(part) - set(frame["pair_id"]))
            raise LineageError(f"{_named(manifest)}: pair {absent[0]} is not in the pinned tables")
        yield from frame.iter_rows(named=True)


def _named(manifest: Manifest) -> str:
    return f"checkpoint {manifest.pipeline}/{manifest.name}@{manifest.version}"
