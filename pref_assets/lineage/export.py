"""A subset as a file that other trainers read."""

from pathlib import Path

import polars as pl

from pref_assets.home import Home
from pref_assets.lineage.model import UnknownQueryError
from pref_assets.lineage.tables import PipelineTables
from pref_assets.pairs.exports import PromptFormat, Style, trl_rows, write_rows
from pref_assets.pairs.schema import COMPLETIONS, DECISIONS, PAIRS, PROMPTS


def export_subset(
    home: Home,
    pipeline: str,
    subset: str,
    path: Path,
    prompt: PromptFormat = "explicit",
    style: Style = "conversational",
    margin: bool = False,
) -> int:
    """Writes the selected pairs of a subset in TRL's format, by pair id, and returns how many.

    Args:
        home: the state folder.
        pipeline: pipeline that holds the subset.
        subset: its name in the pipeline file.
        path: ``.jsonl`` or ``.parquet``.
        prompt: with a ``prompt`` column, or the whole dialogue on both sides.
        style: lists of messages, or text.
        margin: adds the pair's strength as ``margin``.

    Raises:
        UnknownQueryError: no such pipeline or subset; lists those there are.
        ValueError: the format cannot hold a pair, or the path ends otherwise.
    """
    tables = PipelineTables.open(home, pipeline)
    if subset not in (known := tables.names("subsets")):
        raise UnknownQueryError(f"{pipeline} has no subset {subset!r} (there are: {', '.join(known) or 'none'})")
    chosen = tables.scan("subsets", subset, DECISIONS).filter("selected").select("pair_id")
    pairs = tables.scan("pairs", "pairs", PAIRS).join(chosen, on="pair_id", how="semi").sort("pair_id").collect()
    prompts, completions = (tables.scan("pairs", table.name, table).collect() for table in (PROMPTS, COMPLETIONS))
    frame: pl.DataFrame = trl_rows(pairs, prompts, completions, prompt, style, margin)
    write_rows(frame, path)
    return frame.height
