"""Tombstones as an asset outside of runs, and the raw rows without what is withdrawn."""

from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG, extract_data_version_from_entry

from pref_assets.home import Home
from pref_assets.lineage.hits import held
from pref_assets.lineage.tables import PipelineTables
from pref_assets.lineage.withdrawal import TABLE, read_tombstones, tombstones
from pref_assets.pairs.schema import RAW, WITHDRAWALS
from pref_assets.pipeline.metadata import PREVIEW_ROWS, bounded, preview, row_count
from pref_assets.pipeline.naming import OUTSIDE_RUNS, asset_key, asset_spec, describe
from pref_assets.resources.tables import CONTENT_HASH
from pref_assets.tables import TableStore


def withdrawals_key(pipeline: str) -> dg.AssetKey:
    return asset_key(pipeline, "pairs", TABLE)


def withdrawals_spec(pipeline: str) -> dg.AssetSpec:
    """The asset of tombstones, which no run writes."""
    return dg.AssetSpec(
        **asset_spec(
            pipeline,
            "pairs",
            TABLE,
            description=describe(
                "What may not be used any more, and why. Whatever is merged after a withdrawal is without it.",
                inputs="`pref-assets withdraw`",
                table=WITHDRAWALS,
            ),
            table=WITHDRAWALS,
            tags=dict([OUTSIDE_RUNS]),
        )
    )


def report(instance: dg.DagsterInstance, home: Home, pipeline: str) -> None:
    """Tells Dagster of the tombstones as they are, unless it knows them already."""
    store, key = TableStore(home.tables), withdrawals_key(pipeline)
    if not store.exists(key.path):
        return
    snapshot = store.snapshot(key.path)
    latest = instance.get_latest_materialization_event(key)
    known = latest and extract_data_version_from_entry(latest)
    if known is not None and known.value == snapshot.content_hash:
        return
    rows = tombstones(home, pipeline)
    metadata = {
        **row_count(rows.height),
        CONTENT_HASH: snapshot.content_hash,
        "delta_version": snapshot.version,
        "dagster/uri": str(snapshot.path),
        "latest": preview(rows.reverse(), ["at", "kind", "value", "reason"]),
    }
    instance.report_runless_asset_event(
        dg.AssetMaterialization(key, metadata=bounded(metadata), tags={DATA_VERSION_TAG: snapshot.content_hash})
    )


def clear_raw(instance: dg.DagsterInstance, home: Home, pipeline: str, source: str) -> Iterator[tuple[str, int]]:
    """Takes withdrawn rows out of the raw table, batch by batch, and reports each as materialized anew.

    The rows that stay are those of the table: the file may be gone, and reading it again would say nothing new.

    Yields:
        batch, and how many rows are left of it.
    """
    stones, key = read_tombstones(home, pipeline), asset_key(pipeline, "raw", source)
    store = TableStore(home.tables)
    for batch in held(PipelineTables(home, pipeline), source, stones, "raw"):
        rows = store.scan(key.path, batch=batch).filter(~stones.places()).select(list(RAW.columns))
        staged = store.stage(RAW, rows.collect_batches(), batch)
        snapshot = store.write(key.path, staged, RAW, batch)
        latest = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=[batch]), limit=1
        ).records
        if latest and (before := latest[0].asset_materialization) is not None:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    key,
                    partition=batch,
                    tags={**(before.tags or {}), DATA_VERSION_TAG: snapshot.content_hash},
                    metadata={
                        **before.metadata,
                        **row_count(staged.rows, partition=True),
                        CONTENT_HASH: snapshot.content_hash,
                        "delta_version": snapshot.version,
                        "preview": preview(staged.head(PREVIEW_ROWS), ["row", "payload", "code"]),
                    },
                )
            )
        yield batch, staged.rows


def held_records(home: Home, pipeline: str, source: str) -> set[str]:
    """Batches of a source whose records still hold something withdrawn."""
    return set(held(PipelineTables(home, pipeline), source, read_tombstones(home, pipeline), "records"))
