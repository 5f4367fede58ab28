"""A subset as a file that other trainers read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from pref_assets.home import Home
from pref_assets.lineage.model import UnknownQueryError
from pref_assets.lineage.tables import PipelineTables, filled
from pref_assets.pairs.exports import pair_rows, write_rows
from pref_assets.pairs.labels import with_decisions
from pref_assets.pairs.media import MEDIA, MediaStore
from pref_assets.pairs.readers import Source, SourceConfig
from pref_assets.pairs.schema import COMPLETIONS, DECISIONS, PAIRS, PROMPTS


def export_subset(
    home: Home,
    pipeline: str,
    subset: str,
    path: Path,
    style: str = "trl",
    settings: Mapping[str, Any] | None = None,
    margin: bool = False,
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

    Raises:
        UnknownQueryError: no such pipeline or subset; lists those there are.
        ValueError: no such format or setting, the format cannot hold a pair, or the path ends otherwise.
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
    prompts, completions = (tables.scan("pairs", table.name, table) for table in (PROMPTS, COMPLETIONS))
    media = MediaStore(home.media)

    def named(uri: str) -> str:
        return str(media.path(uri)) if uri.startswith(MEDIA) else uri

    return write_rows(pair_rows(source, pairs, prompts, completions, margin=margin, image=named), path)
