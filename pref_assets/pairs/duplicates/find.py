"""Near duplicates of prompts and pairs."""

import polars as pl

from pref_assets.features.store import Store
from pref_assets.pairs.duplicates.settings import NearDuplicates


def prompt_duplicates(
    prompts: pl.LazyFrame, arrival: pl.DataFrame, settings: NearDuplicates, store: Store | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Prompts that nearly repeat an earlier one, and the group of every such prompt.

    Args:
        prompts: ``RECORD_PROMPTS`` rows of all batches.
        arrival: source, batch, sequence: the order in which batches came.
        store: where hashes of prompts are kept; only missing ones are computed.

    Returns:
        ``PROMPT_DUPLICATES``, and a frame (prompt_id, group_id) of the prompts whose group is another prompt's.
    """
    raise NotImplementedError


def pair_duplicates(
    comparisons: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    arrival: pl.DataFrame,
    settings: NearDuplicates,
    store: Store | None = None,
) -> pl.DataFrame:
    """``PAIR_DUPLICATES``: pairs to drop, each with the earlier pairs, themselves kept, that it nearly repeats.

    Args:
        comparisons, prompts, completions: the tables of those names.
        arrival: source, batch, sequence: the order in which batches came.
        store: where hashes of pairs are kept; only missing ones are computed.
    """
    raise NotImplementedError


def exact_duplicates(table: pl.LazyFrame, arrival: pl.DataFrame) -> pl.DataFrame:
    """Rows, first occurrences and exact repeats of each batch: frame (batch, rows, first, repeated)."""
    raise NotImplementedError
