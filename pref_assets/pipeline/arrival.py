"""In which order batches came: what came first is never dropped for what came later."""

from collections.abc import Iterable

import polars as pl

from pref_assets.home import Home
from pref_assets.pipeline import batches

ARRIVAL = pl.Schema({"source": pl.String, "batch": pl.String, "sequence": pl.Int64})


def arrival(home: Home, pipeline: str, sources: Iterable[str]) -> pl.DataFrame:
    """source, batch and sequence (from 0) of every registered batch, in the order of registration."""
    found = [
        (batch.registered, source, batch.key)
        for source in sources
        for batch in batches.registered(home, pipeline, source)
    ]
    rows = [(source, key, number) for number, (_, source, key) in enumerate(sorted(found))]
    return pl.DataFrame(rows, schema=ARRIVAL, orient="row")
