"""The I/O manager of every table asset: an asset key is a Delta table, a partition is a batch of it."""

from pathlib import Path
from types import NoneType
from typing import Any, get_args

import dagster as dg
import polars as pl

from pref_assets.evaluation.leaderboard import LEADERBOARD
from pref_assets.home import Home
from pref_assets.pairs import schema
from pref_assets.pairs.schema import Table
from pref_assets.staging import BATCH, Staged
from pref_assets.tables import MissingTableError, TableStore, Versioned

TABLE_METADATA = "table"
"""Definition metadata of a table asset: the name of its schema."""
CONTENT_HASH = "content_hash"
"""Metadata of a table's materialization: the hash of its rows, which is its data version."""
TABLES: dict[str, Table] = {
    LEADERBOARD.name: LEADERBOARD,
    **{value.name: value for value in vars(schema).values() if isinstance(value, Table)},
}


class DeltaTables(dg.ConfigurableIOManager):
    """Stores frames as Delta tables at ``<home>/tables/<asset key>``.

    An asset that returns a frame, or staged rows, says which table they are of in its definition:
    ``metadata={"table": PAIRS.name}``. A partitioned asset writes one batch, the partition key. An input is read as
    the annotation says: ``pl.DataFrame`` (or none), ``pl.LazyFrame``, ``Versioned`` (a whole table with the version
    that was read), or one of them with ``| None`` where the table may not exist yet.
    """

    home: str
    """The state folder."""

    @property
    def store(self) -> TableStore:
        return TableStore(Home(Path(self.home)).tables)

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame | Staged) -> None:
        """Writes the rows; metadata says where they are, their version and their content hash.

        A content hash that is in the asset's metadata already is that of the rows, and not computed again.
        """
        if not isinstance(obj, pl.DataFrame | Staged):
            raise TypeError(f"asset {context.asset_key.to_user_string()} returned {type(obj).__name__}, not a frame")
        batch = context.partition_key if context.has_partition_key else None
        known = context.output_metadata.get(CONTENT_HASH)
        hashed = None if known is None else str(known.value)
        snapshot = self.store.write(context.asset_key.path, obj, _table_of(context), batch, hashed=hashed)
        context.add_output_metadata(
            {"dagster/uri": str(snapshot.path), "delta_version": snapshot.version, "written": snapshot.written}
        )
        if known is None:
            context.add_output_metadata({CONTENT_HASH: snapshot.content_hash})

    def load_input(self, context: dg.InputContext) -> pl.DataFrame | pl.LazyFrame | Versioned | None:
        """The whole table, or the batches of the input's partitions."""
        wanted = _annotations(context)
        if NoneType in wanted and not self.store.exists(context.asset_key.path):
            return None
        if Versioned in wanted:
            return self.store.versioned(context.asset_key.path)
        frame = self._scan(context)
        return frame if pl.LazyFrame in wanted else frame.collect()

    def _scan(self, context: dg.InputContext) -> pl.LazyFrame:
        key = context.asset_key.path
        if not context.has_asset_partitions:
            return self.store.scan(key)
        partitions = list(context.asset_partition_keys)
        if len(partitions) == 1:
            return self.store.scan(key, batch=partitions[0])
        if not partitions:
            raise MissingTableError(f"{self.store.path(key)}: no batch is registered yet; add a file to its source")
        if missing := sorted(set(partitions) - set(self.store.batches(key))):
            context.log.warning(f"{'/'.join(key)}: batches not materialized yet, left out: {', '.join(missing)}")
        return self.store.scan(key).filter(pl.col(BATCH).is_in(partitions))


def _table_of(context: dg.OutputContext) -> Table:
    name = (context.definition_metadata or {}).get(TABLE_METADATA)
    if name not in TABLES:
        key = context.asset_key.to_user_string()
        raise ValueError(
            f"asset {key}: set `metadata={{'{TABLE_METADATA}': <name>}}` in its definition to one of {sorted(TABLES)}, "
            f"not {name!r}"
        )
    return TABLES[name]


def _annotations(context: dg.InputContext) -> tuple[Any, ...]:
    annotation = context.dagster_type.typing_type
    return get_args(annotation) or (annotation,)
