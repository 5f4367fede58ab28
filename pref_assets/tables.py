"""Versioned tables: every write is one atomic Delta Lake commit that records a hash of what it wrote.

Rows are staged outside the table, sorted and hashed once (``staging``); a commit only puts the staged files in.

Equal content is never written twice, so a version number changes exactly when the data does. History is kept for
ever: nothing here deletes files, and the tables are configured so that Delta's own clean-up does not either.
"""

import errno
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from pref_assets.commits import Commit, StoredColumnsError, commit, commits, state
from pref_assets.content import ContentHasher, content_hash
from pref_assets.pairs.schema import (
    Table,
)
from pref_assets.staging import BATCH, Limits, Part, Stage, Staged, check_batch, lasting, scratch, write_sorted

if TYPE_CHECKING:
    from deltalake import DeltaTable

_ATTEMPTS = 12


class TableError(RuntimeError):
    """A table could not be read or written; the message names its folder and what to do."""


class MissingTableError(TableError, FileNotFoundError):
    """The table, version or batch does not exist."""


@dataclass(frozen=True)
class Snapshot:
    """One state of a table, or of one batch of it.

    Attributes:
        path: the table's folder.
        version: the Delta version that holds this state; reading it always gives these rows.
        content_hash: hash of the rows, whatever their order.
        rows: number of rows.
        written: whether the call that returned this made a new version.
    """

    path: Path
    version: int
    content_hash: str
    rows: int
    written: bool = False


@dataclass(frozen=True)
class Versioned:
    """A table at one version: whatever is written later, ``rows`` are those that ``snapshot`` tells of."""

    snapshot: Snapshot
    rows: pl.LazyFrame


@dataclass(frozen=True)
class TableStore:
    """All tables of a deployment, each a folder ``<root>/<pipeline>/<stage>/<name>``."""

    root: Path
    limits: Limits = field(default_factory=Limits)

    def path(self, key: Sequence[str]) -> Path:
        return self.root.joinpath(*key)

    def exists(self, key: Sequence[str]) -> bool:
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(str(self.path(key)))

    @property
    def staging(self) -> Path:
        """Folder of rows that are not in a table yet, beside the tables."""
        return self.root.with_name(f"{self.root.name}.staging")

    def stage(self, table: Table, frames: Iterable[pl.DataFrame], batch: str | None = None) -> Staged:
        """Frames of a table on disk: conformed, hashed once, sorted in the table's order, in bounded memory.

        Nothing is in a table until ``write`` puts it there. The staged rows can be read until the process ends.

        Raises:
            ValueError: a frame does not have the table's columns, or holds rows of another batch.
            TableError: the disk is full or the folder cannot be written.
        """
        return self.stage_together({"rows": table}, ({"rows": frame} for frame in frames), batch)["rows"]

    def stage_together(
        self, tables: Mapping[str, Table], frames: Iterable[Mapping[str, pl.DataFrame]], batch: str | None = None
    ) -> dict[str, Staged]:
        """Several tables staged in one pass over frames that each hold rows of some of them; as ``stage``.

        While the next frames are made, the last ones are hashed and written, beside, in a thread.
        """
        stages = {name: Stage(lasting(self.staging), table, batch, self.limits) for name, table in tables.items()}

        def add(each: Mapping[str, pl.DataFrame]) -> None:
            for name, frame in each.items():
                stages[name].add(frame)

        with ThreadPoolExecutor(max_workers=1) as beside:
            adding: Future[None] | None = None
            for each in frames:
                if adding is not None:
                    with _explained(self.staging, "written"):
                        adding.result()
                adding = beside.submit(add, each)
            with _explained(self.staging, "written"):
                if adding is not None:
                    adding.result()
                return dict(zip(stages, map(Stage.finish, stages.values()), strict=True))

    def write(
        self,
        key: Sequence[str],
        rows: pl.DataFrame | Staged,
        table: Table,
        batch: str | None = None,
        *,
        hashed: str | None = None,
    ) -> Snapshot:
        """Makes ``rows`` the table's content, or with ``batch`` the content of that batch only.

        Unchanged content writes nothing and keeps its version. A kill in the middle leaves the former version.
        Processes that write different batches at once all succeed.

        Args:
            key: the table's path below the root.
            rows: a frame, or what ``stage`` made of frames of this table and batch.
            table: its schema.
            batch: which batch; null for the whole table.
            hashed: the content hash of a frame where it is known already.

        Raises:
            ValueError: the rows do not have the table's columns, or are of another batch.
            TableError: the disk is full, the folder cannot be written, or the stored schema does not fit.
        """
        if isinstance(rows, Staged):
            if (rows.table.schema, rows.batch) != (table.schema, batch):
                raise ValueError(
                    f"rows staged for table {rows.table.name}, batch {rows.batch!r}, "
                    f"in a write of table {table.name}, batch {batch!r}"
                )
            return self._put(key, lambda: rows.parts, table, Commit(batch, rows.content_hash, rows.rows))
        frame = table.conform(rows)
        check_batch(frame, table, batch)
        record = Commit(batch, hashed or content_hash(frame), frame.height)
        with scratch(self.staging) as folder:
            return self._put(key, lambda: write_sorted(folder, table, frame, batch, self.limits), table, record)

    def _put(self, key: Sequence[str], make: Callable[[], tuple[Part, ...]], table: Table, record: Commit) -> Snapshot:
        """Commits the files that ``make`` gives, which is called only when the content is new."""
        path, parts, wanted = self.path(key), None, str(record.content_hash)
        for attempt in range(_ATTEMPTS):
            current = state(_load(path), record.batch) if self.exists(key) else None
            if current is not None and current.content_hash == wanted:
                return Snapshot(path, current.version, wanted, record.rows)
            with _explained(path, "written"):
                parts = make() if parts is None else parts
                if (version := commit(path, parts, table, record)) is not None:
                    return Snapshot(path, version, wanted, record.rows, written=True)
            time.sleep(random.uniform(0, 0.05 * 2**attempt))
        raise TableError(f"{path}: other processes kept writing this table; run again when they are done")

    def scan(self, key: Sequence[str], version: int | None = None, batch: str | None = None) -> pl.LazyFrame:
        """The table at a version (the newest by default), one batch or all, without reading it yet.

        Raises:
            MissingTableError: no such table, version or batch.
        """
        loaded = _load(self.path(key), version)
        frame = pl.scan_delta(loaded)
        if batch is None:
            return frame
        if state(loaded, batch) is None:
            known = ", ".join(sorted(self.batches(key, version))) or "none"
            raise MissingTableError(f"{self.path(key)}: no batch {batch!r} (batches: {known}); materialize it first")
        return frame.filter(pl.col(BATCH) == batch)

    def read(
        self,
        key: Sequence[str],
        version: int | None = None,
        batch: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """The same, read: all columns or the named ones."""
        frame = self.scan(key, version, batch)
        with _explained(self.path(key), "read"):
            if columns is None:
                return frame.collect()
            if unknown := set(columns) - set(names := frame.collect_schema().names()):
                raise TableError(f"{self.path(key)}: no columns {sorted(unknown)}; it has {names}")
            return frame.select(columns).collect()

    def snapshot(self, key: Sequence[str], batch: str | None = None) -> Snapshot:
        """What the table, or one batch of it, is now.

        Raises:
            MissingTableError: no such table or batch.
            TableError: the last change was not made through this store, so its content hash is not known.
        """
        path = self.path(key)
        loaded = _load(path)
        current = state(loaded, batch)
        if current is None:
            raise MissingTableError(f"{path}: no batch {batch!r}; materialize it first")
        if current.content_hash is None:
            raise TableError(f"{path}: version {current.version} was written by another program; materialize it again")
        return Snapshot(path, current.version, current.content_hash, current.rows)

    def versioned(self, key: Sequence[str]) -> Versioned:
        """The table as it is now and will stay readable; raises as ``snapshot`` does."""
        snapshot = self.snapshot(key)
        return Versioned(snapshot, self.scan(key, snapshot.version))

    def rehashed(self, key: Sequence[str], table: Table, version: int) -> str:
        """Content hash of a version computed from its rows, to hold against the one that is on record.

        Raises:
            MissingTableError: no such table or version.
            ValueError: it does not have the columns of ``table``.
        """
        hasher = ContentHasher(table.schema)
        with _explained(self.path(key), "read"):
            for rows in self.scan(key, version).collect_batches(chunk_size=self.limits.group_rows):
                hasher.add(table.conform(rows))
        return hasher.hexdigest()

    def version_of(self, key: Sequence[str], content: str) -> int | None:
        """The newest version of a whole table that holds rows with this content hash; None when none does."""
        found = (each.version for each in commits(_load(self.path(key))) if each.content_hash == content)
        return next(found, None)

    def batches(self, key: Sequence[str], version: int | None = None) -> dict[str, str]:
        """Content hash of every batch of the table, batches without rows included."""
        found: dict[str, str] = {}
        for each in commits(_load(self.path(key), version)):
            if each.batch is None or each.content_hash is None:
                break
            found.setdefault(each.batch, each.content_hash)
        return found


def _load(path: Path, version: int | None = None) -> "DeltaTable":
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        return DeltaTable(str(path), version=version)
    except TableNotFoundError as error:
        raise MissingTableError(f"{path}: no such table; materialize the asset that writes it first") from error
    except DeltaError as error:
        if version is None:
            raise TableError(f"{path}: the table cannot be opened: {error}") from error
        newest = _load(path).version()
        raise MissingTableError(f"{path}: no version {version}; the table has versions 0 to {newest}") from error


@contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    """Says which table, and what to do, of any failure below."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except TableError:
        raise
    except StoredColumnsError as error:
        raise TableError(f"{path}: {error}; delete the folder and materialize") from error
    except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        advice = "the disk is full; free some space and run again" if full else str(error)
        raise TableError(f"{path}: the table cannot be {what}: {advice}") from error
