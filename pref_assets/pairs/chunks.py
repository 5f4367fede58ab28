"""Comparisons with their conversations, a bounded number at a time: how texts of a large table are ever touched."""

from collections.abc import Iterator

import polars as pl

from pref_assets.pairs.schema import MESSAGES, PAIR_TEXTS

_IDS = ("pair_id", "prompt_id", "chosen_id", "rejected_id")
_SIDES = ("chosen", "rejected")


def pair_chunks(
    comparisons: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    *,
    rows: int = 25_000,
    only: pl.Series | None = None,
) -> Iterator[pl.DataFrame]:
    """Frames of ``PAIR_TEXTS`` in the order of (prompt_id, pair_id), those across prompts last.

    Only the four ids of every comparison are held in memory. Where the tables are stored in their order, a chunk reads
    its own range of prompt ids and nothing else. Comparisons across prompts have no range: each chunk of them reads
    the completions once.

    Args:
        comparisons: pair_id, prompt_id, chosen_id and rejected_id (``COMPARISONS`` or ``PAIRS``).
        prompts, completions: ``PROMPTS`` and ``COMPLETIONS``; ids must be unique.
        rows: most comparisons of a chunk.
        only: pair ids; others are left out.

    Raises:
        ValueError: a comparison names a prompt or completion that is not in the tables.
    """
    ids = comparisons.select(_IDS)
    if only is not None:
        wanted = only.unique().alias("pair_id").cast(pl.String).to_frame().lazy()
        ids = ids.join(wanted, on="pair_id", how="semi")
    pairs = ids.collect(engine="streaming").sort("prompt_id", "pair_id", nulls_last=True)
    for chunk in pairs.filter(pl.col("prompt_id").is_not_null()).iter_slices(rows):
        first, last = chunk["prompt_id"][0], chunk["prompt_id"][-1]
        in_range = pl.col("prompt_id").is_between(pl.lit(first), pl.lit(last))
        said = _read(prompts.filter(in_range), "prompt_id", chunk["prompt_id"].unique())
        yield _with_answers(_joined(chunk, said, "prompt"), completions.filter(in_range))
    for chunk in pairs.filter(pl.col("prompt_id").is_null()).iter_slices(rows):
        yield _with_answers(chunk.with_columns(prompt=pl.lit(None, MESSAGES)), completions)


def _read(table: pl.LazyFrame, key: str, wanted: pl.Series) -> pl.DataFrame:
    """Key and messages of the wanted rows. A filter, and no join, lets Parquet decode the messages of these alone."""
    found = table.select(key, "messages").filter(pl.col(key).is_in(wanted.implode()))
    return found.collect(engine="streaming")


def _with_answers(chunk: pl.DataFrame, completions: pl.LazyFrame) -> pl.DataFrame:
    wanted = pl.concat([chunk["chosen_id"], chunk["rejected_id"].alias("chosen_id")]).unique()
    answers = _read(completions, "completion_id", wanted)
    for side in _SIDES:
        chunk = _joined(chunk, answers.rename({"completion_id": f"{side}_id"}), side)
    return chunk.select(PAIR_TEXTS.names())


def _joined(chunk: pl.DataFrame, texts: pl.DataFrame, name: str) -> pl.DataFrame:
    """The chunk with the messages as column ``name``."""
    key = f"{name}_id"
    found = chunk.join(texts.rename({"messages": name}), on=key, how="left", maintain_order="left")
    lost = found.filter(pl.col(name).is_null())
    if lost.height:
        pair, missing = lost.select("pair_id", key).row(0)
        raise ValueError(
            f"{lost.height} comparisons name a {name} that is not in the tables, e.g. pair {pair}: {missing}; "
            "materialize the tables of prompts, completions and comparisons together"
        )
    return found
