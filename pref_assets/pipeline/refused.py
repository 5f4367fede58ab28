"""Taking back batches that nothing came of, so that a mended file can replace them."""

import dagster as dg

from pref_assets.home import Home
from pref_assets.pipeline import batches
from pref_assets.pipeline.batches import Batch
from pref_assets.pipeline.checks import bad_batches
from pref_assets.pipeline.naming import asset_key, source_partitions
from pref_assets.tables import TableStore


def take_back(
    instance: dg.DagsterInstance, home: Home, pipeline: str, source: str, max_bad_share: float
) -> list[Batch]:
    """Forgets batches whose file is gone or changed, if they were never read or were refused for their bad rows.

    An accepted batch stays whatever happened to its file since: its rows are in the tables. Rows of a forgotten batch
    stay in the raw and record tables, where nothing reads them, since a read covers the registered batches.
    """
    read = instance.get_materialized_partitions(asset_key(pipeline, "raw", source))
    refused = refused_batches(home, pipeline, source, max_bad_share)
    taken = []
    for batch in batches.registered(home, pipeline, source):
        if batch.key in read and batch.key not in refused:
            continue
        try:
            batches.verify(batch)
        except batches.BatchError:
            drop(instance, home, pipeline, source, batch)
            taken.append(batch)
    return taken


def drop(instance: dg.DagsterInstance, home: Home, pipeline: str, source: str, batch: Batch) -> None:
    """Takes one batch back, so that nothing waits for it. Its file becomes a batch again when it is found again."""
    instance.delete_dynamic_partition(str(source_partitions(pipeline, source).name), batch.key)
    batches.forget(home, pipeline, source, batch)


def refused_batches(home: Home, pipeline: str, source: str, max_bad_share: float) -> set[str]:
    """Keys of the batches that were read and hold more bad rows than the source allows."""
    store = TableStore(home.tables)
    raw, quarantine = (pipeline, "raw", source), (pipeline, "records", f"{source}_quarantine")
    if not (store.exists(raw) and store.exists(quarantine)):
        return set()
    bad = bad_batches(store.scan(raw), store.scan(quarantine), max_bad_share)
    return set(bad.collect()["batch"])
