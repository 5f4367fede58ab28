"""Which pairs hold texts of which benches."""

import polars as pl

from pref_assets.features.store import Store
from pref_assets.pairs.decontamination.settings import Decontamination


def contamination(
    comparisons: pl.LazyFrame,
    prompts: pl.LazyFrame,
    completions: pl.LazyFrame,
    settings: Decontamination,
    store: Store | None = None,
) -> pl.DataFrame:
    """``CONTAMINATION``: the bench texts found in pairs, with the words they share.

    Args:
        comparisons, prompts, completions: the tables of those names.
        store: where findings are kept by text and bench; only missing ones are computed.
    """
    raise NotImplementedError
