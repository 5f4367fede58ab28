"""What was computed once and is never computed again: results by content id and by how they were made."""

import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

APPEND_ATTEMPTS = 8


class MissingRowsError(LookupError):
    """Rows were read that nobody has computed; the message says how many and names some."""


class Store:
    """Content-addressed results as Delta tables: one table a kind, one partition a key.

    A key stands for everything the result depends on beside the item (model, version, settings), so a changed
    setting is another partition and nothing is ever invalidated. Writers only append: several processes may, at
    once, and a killed one leaves the chunks it had appended and nothing half-written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def missing(self, kind: str, key: str, ids: Iterable[str]) -> list[str]:
        """The ids, each once and in the order given, that have no row under the key."""
        wanted = dict.fromkeys(ids)
        rows = self._scan(kind, key)
        if rows is not None:
            for id_ in rows.select(pl.col("id").unique()).collect()["id"]:
                wanted.pop(id_, None)
        return list(wanted)

    def append(self, kind: str, key: str, frame: pl.DataFrame) -> None:
        """Adds rows in one atomic commit. Call it a chunk at a time: what was appended survives a kill.

        Args:
            frame: an ``id`` column and the values; the same columns for every key of a kind. Two processes may append
                the same id: ``read`` returns one of the rows, always the same.

        Raises:
            ValueError: null or repeated ids in the frame, or columns that differ from the kind's table.
        """
        from deltalake import write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError

        if frame["id"].null_count() or frame["id"].is_duplicated().any():
            raise ValueError(f"store {kind!r}: the frame to append has null or repeated ids")
        if frame.is_empty():
            return
        chunk = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
        frame = frame.select(pl.exclude("key"), key=pl.lit(key), chunk=pl.lit(chunk))
        self._check_columns(kind, frame)
        for attempt in range(APPEND_ATTEMPTS):
            try:
                write_deltalake(self._path(kind), frame, mode="append", partition_by=["key"], name=kind)
                return
            except SchemaMismatchError as error:
                raise ValueError(f"store {kind!r}: {error}") from error
            except (CommitFailedError, DeltaError):
                # Another process created the table or took this version number; the next try sees its commit.
                if attempt == APPEND_ATTEMPTS - 1:
                    raise
                time.sleep(0.05 * 2**attempt)

    def read(
        self, kind: str, key: str, ids: Iterable[str] | None = None, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Rows of the key, one for each id in the order given; all of them, ordered by id, when none are given.

        ``columns`` are the ones to read beside ``id``; all when left out.

        Raises:
            MissingRowsError: an id has no row.
        """
        rows = self._scan(kind, key)
        wanted = None if ids is None else list(dict.fromkeys(ids))
        if rows is None:
            if wanted is None or wanted:
                raise MissingRowsError(f"store {kind!r}: nothing was ever computed under key {key!r} in {self.root}")
            return pl.DataFrame(schema={"id": pl.String})
        if columns is not None:
            rows = rows.select("id", *columns, "key", "chunk")
        if wanted is not None:
            rows = rows.join(pl.LazyFrame({"id": wanted}, schema={"id": pl.String}), on="id", how="semi")
        # The first of two racing writers wins, for every reader.
        found = rows.collect().sort("id", "chunk").unique("id", keep="first", maintain_order=True).drop("key", "chunk")
        if wanted is None:
            return found
        if len(found) < len(wanted):
            absent = sorted(set(wanted) - set(found["id"]))
            raise MissingRowsError(
                f"store {kind!r}, key {key!r}: {len(absent)} of {len(wanted)} ids were not computed, e.g. {absent[:3]}"
            )
        return pl.DataFrame({"id": wanted}, schema={"id": pl.String}).join(
            found, on="id", how="left", maintain_order="left"
        )

    def _path(self, kind: str) -> Path:
        return self.root / kind

    def _scan(self, kind: str, key: str) -> pl.LazyFrame | None:
        from deltalake import DeltaTable

        path = self._path(kind)
        if not DeltaTable.is_deltatable(str(path)):
            return None
        return pl.scan_delta(path).filter(pl.col("key") == key)

    def _check_columns(self, kind: str, frame: pl.DataFrame) -> None:
        from deltalake import DeltaTable

        path = self._path(kind)
        if not DeltaTable.is_deltatable(str(path)):
            return
        known = pl.scan_delta(path).collect_schema()
        given = frame.schema
        if dict(known) != dict(given):
            raise ValueError(f"store {kind!r} holds columns {dict(known)}, but the frame to append has {dict(given)}")
