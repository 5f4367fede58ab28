"""Raw: the rows of a registered batch as they were read. Records: the same rows understood, or in quarantine."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from pref_assets.home import Home
from pref_assets.lineage.withdrawal import Tombstones, read_tombstones, withdrawn
from pref_assets.pairs.locations import is_hub
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.readers.base import Records
from pref_assets.pairs.reading import UnreadableError, read_chunks
from pref_assets.pairs.schema import QUARANTINE, RAW, RECORD_COMPLETIONS, RECORD_PROMPTS, RECORD_VOTES, Table
from pref_assets.pipeline import batches
from pref_assets.pipeline.assets.common import Assets, table_result
from pref_assets.pipeline.metadata import PREVIEW_ROWS, Metadata, counts, preview, series
from pref_assets.pipeline.naming import (
    LOCATION_METADATA,
    MAX_BAD_SHARE_METADATA,
    TABLE_IO,
    asset_key,
    asset_spec,
    describe,
    source_partitions,
)
from pref_assets.pipeline.refused import drop
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.staging import Staged
from pref_assets.tables import TableStore

RECORD_TABLES: dict[str, Table] = {
    "prompts": RECORD_PROMPTS,
    "completions": RECORD_COMPLETIONS,
    "votes": RECORD_VOTES,
    "quarantine": QUARANTINE,
}
"""Tables of the records stage; the asset of one is ``<source>_<table>``."""
_CHUNK_ROWS = 10_000
"""Raw rows that are read, understood and let go at once."""
_WHAT = {
    "prompts": "Prompts of every batch, as this source has them.",
    "completions": "Completions of every batch, with their ratings.",
    "votes": "Who preferred which completion, row by row.",
    "quarantine": "Rows that are no preference data, each with file, row, code and reason.",
}


def build(spec: PipelineSpec) -> Assets:
    return [make(spec, name) for name in spec.sources for make in (_raw, _records)]


def _raw(spec: PipelineSpec, name: str) -> dg.AssetsDefinition:
    source = spec.sources[name]
    origin = "a hub data set, read once" if is_hub(source.location) else "one batch for each file"

    @dg.asset(
        **asset_spec(
            spec.name,
            "raw",
            name,
            description=describe(
                f"Rows of source `{name}` as read, with the manifest of every batch.",
                inputs=f"`{source.location}`, {origin}, pinned by its content when it was registered",
                table=RAW,
            ),
            table=RAW,
            metadata={LOCATION_METADATA: source.location, MAX_BAD_SHARE_METADATA: source.max_bad_share},
        ),
        partitions_def=source_partitions(spec.name, name),
        io_manager_key=TABLE_IO,
    )
    def raw(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult[Staged]:
        batch = batches.find(home, spec.name, name, context.partition_key)
        batches.verify(batch)
        media = MediaStore(home.media)
        chunks = read_chunks(batch.place, batch.uri, name, batch.key, limits=source.limits, media=media)
        places = read_tombstones(home, spec.name).places()
        left = (chunk.filter(~places) for chunk in chunks)
        try:
            rows = TableStore(home.tables).stage(RAW, left, batch.key)
        except UnreadableError:
            drop(context.instance, home, spec.name, name, batch)
            raise
        unreadable = rows.scan().select(pl.col("code").count()).collect().item()
        manifest: Metadata = {
            "file": batch.uri,
            "pinned_by": batch.pin,
            "registered": batch.registered,
            **series({"bytes": batch.size, "rows_read": rows.rows, "rows_unreadable": unreadable}),
            "preview": preview(rows.head(PREVIEW_ROWS), ["row", "payload", "code"]),
        }
        return table_result(rows, RAW, manifest, partition=True)

    return raw


def _records(spec: PipelineSpec, name: str) -> dg.AssetsDefinition:
    source = spec.sources[name]
    specs = {
        table_name: dg.AssetSpec(
            **asset_spec(
                spec.name,
                "records",
                f"{name}_{table_name}",
                description=describe(
                    _WHAT[table_name], inputs=f"the raw rows of source `{name}`", settings=source, table=table
                ),
                settings=source,
                table=table,
            )
        )
        for table_name, table in RECORD_TABLES.items()
    }

    @dg.multi_asset(
        name=f"{spec.name}__records__{name}",
        ins={"raw": dg.AssetIn(key=asset_key(spec.name, "raw", name))},
        outs={each: dg.AssetOut.from_spec(specs[each], io_manager_key=TABLE_IO) for each in specs},
        partitions_def=source_partitions(spec.name, name),
    )
    def records(
        context: dg.AssetExecutionContext, home: dg.ResourceParam[Home], raw: pl.LazyFrame
    ) -> Iterator[dg.MaterializeResult[Staged]]:
        media = MediaStore(home.media)
        stones = read_tombstones(home, spec.name)
        raw = raw.filter(~stones.places())
        chunks = raw.collect_batches(chunk_size=_CHUNK_ROWS)
        found = (_left(each, stones) for each in source.read_each(chunks, media))
        staged = TableStore(home.tables).stage_together(RECORD_TABLES, found, context.partition_key)
        for table_name, rows in staged.items():
            metadata: Metadata = {"preview": preview(rows.head(PREVIEW_ROWS), _PREVIEW[table_name])}
            if table_name == "quarantine":
                rows_read = raw.select(pl.len()).collect().item()
                metadata |= {
                    "codes": counts(rows.scan(), "code"),
                    **series({"rows_quarantined": rows.rows, "rows_read": rows_read}),
                }
            key = specs[table_name].key
            yield table_result(rows, RECORD_TABLES[table_name], metadata, key=key, partition=True)

    return records


def _left(records: Records, stones: Tombstones) -> dict[str, pl.DataFrame]:
    """A chunk of records without what is withdrawn."""
    if not stones:
        return vars(records)
    found = withdrawn(records.prompts.lazy(), records.completions.lazy(), records.votes.lazy(), stones)
    prompts, completions, votes = pl.collect_all(found)
    return {"prompts": prompts, "completions": completions, "votes": votes, "quarantine": records.quarantine}


_PREVIEW = {
    "prompts": ["messages", "uri", "row"],
    "completions": ["messages", "model", "ratings", "uri", "row"],
    "votes": ["choice", "annotator", "dimension", "strength", "uri", "row"],
    "quarantine": ["uri", "row", "code", "reason", "payload"],
}
