"""A subset as a file that other trainers read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from pref_assets.home import Home
from pref_assets.lineage.model import UnknownQueryError
from pref_assets.lineage.rows import find_checkpoint
from pref_assets.lineage.tables import PipelineTables, filled
from pref_assets.pairs.exports import pair_rows, write_rows
from pref_assets.pairs.labels import with_decisions
from pref_assets.pairs.media import MEDIA, MediaStore
from pref_assets.pairs.readers import Source, SourceConfig
from pref_assets.pairs.schema import COMPLETIONS, DECISIONS, PAIRS, PROMPTS
from pref_assets.training.checkpoint import PAIR_TABLE


def export_subset(
    home: Home,
    pipeline: str,
    subset: str,
    path: Path,
    style: str = "trl",
    settings: Mapping[str, Any] | None = None,
    margin: bool = False,
    checkpoint: str | None = None,
) -> int:
    """Writes the selected pairs of a subset, by prompt and pair id, and returns how many rows that made.

    A pair has the sides and the label that it would train with: the selector's, where it decided on one. Images are
    named by their file in the home's media folder.

    Args:
        home: the state folder.
        pipeline: pipeline that holds the subset.
        subset: its name in the pipeline file.
        path: ``.jsonl`` or ``.parquet``.
        style: a format's ``type``, as in a pipeline file.
        settings: the format's settings, as in a pipeline file.
        margin: adds the margin that the selector demands, or else the strength that the votes give the chosen side.
        checkpoint: adds how each pair counted in the training of this checkpoint (``name`` or ``name@version``), of
            which only the pairs are written: ``pair_id``, ``p_chosen``, ``weight``, ``stage``, ``margin`` where there
            is one, and what its loss read and made of it, such as ``delta`` and ``beta``.

    Raises:
        UnknownQueryError: no such pipeline, subset or checkpoint; lists those there are.
        ValueError: no such format or setting, the format cannot hold a pair, the path ends otherwise, or the subset or
            the pairs are not those that the checkpoint was trained on.
    """
    tables = PipelineTables.open(home, pipeline)
    if subset not in (known := tables.names("subsets")):
        raise UnknownQueryError(f"{pipeline} has no subset {subset!r} (there are: {', '.join(known) or 'none'})")
    source: Source = TypeAdapter(SourceConfig).validate_python(
        {"location": str(path), **(settings or {}), "type": style}
    )
    chosen = filled(tables.scan("subsets", subset, DECISIONS), DECISIONS).filter("selected")
    pairs = with_decisions(tables.scan("pairs", "pairs", PAIRS), chosen.select("pair_id", "p_chosen", "margin"))
    pairs = pairs.with_columns(strength=pl.coalesce("margin", pl.when(~pl.col("swapped")).then("strength")))
    pairs = pairs.select(list(PAIRS.columns))
    more = None if checkpoint is None else _counted(tables, subset, checkpoint)
    if more is not None:
        pairs = pairs.filter(pl.col("pair_id").is_in(list(more)))
    prompts, completions = (tables.scan("pairs", table.name, table) for table in (PROMPTS, COMPLETIONS))
    media = MediaStore(home.media)

    def named(uri: str) -> str:
        return str(media.path(uri)) if uri.startswith(MEDIA) else uri

    return write_rows(pair_rows(source, pairs, prompts, completions, margin=margin, image=named, more=more), path)


def _counted(tables: PipelineTables, subset: str, checkpoint: str) -> dict[str, dict[str, Any]]:
    """Of every pair that a checkpoint trained on: its id and the numbers of the checkpoint's own table."""
    folder, manifest = find_checkpoint(tables.home, checkpoint, tables.pipeline)
    said = f"checkpoint {manifest.name}@{manifest.version}"
    if manifest.subset.key[-1] != subset:
        raise ValueError(f"{said} was trained on subset {manifest.subset.key[-1]}; export that")
    pins = [
        ("decisions", manifest.subset),
        *([("pairs", manifest.tables["pairs"])] if "pairs" in manifest.tables else []),
    ]
    for name, pin in pins:
        if tables.store.versioned(tuple(pin.key)).snapshot.content_hash != pin.data_version:
            raise ValueError(f"{said} was trained on other {name} than there are now; train it again, then export")
    if not (file := folder / PAIR_TABLE).exists():
        raise ValueError(f"{said} has no table of its pairs, as older ones have not; train it again, then export")
    found = pl.read_parquet(file)
    numbers = found.select("pair_id", pl.selectors.numeric())
    known = numbers.select(column for column in numbers if column.null_count() < numbers.height)
    return {row["pair_id"]: row for row in known.to_dicts()}
