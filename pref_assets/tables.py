"""Versioned tables: every write is one atomic Delta Lake commit that records a hash of what it wrote.

Equal content is never written twice, so a version number changes exactly when the data does. History is kept for
ever: nothing here deletes files, and the tables are configured so that Delta's own clean-up does not either.
"""

import errno
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from pref_assets.pairs.schema import Table, content_hash
from pref_assets.settings import digest

if TYPE_CHECKING:
    from deltalake import DeltaTable

BATCH = "batch"
"""Column that partitions a table written in batches."""
_KEEP = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}
_SAME_ROWS = {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES"}
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
class _Commit:
    version: int
    batch: str | None
    content_hash: str | None
    rows: int


@dataclass(frozen=True)
class TableStore:
    """All tables of a deployment, each a folder ``<root>/<pipeline>/<stage>/<name>``."""

    root: Path

    def path(self, key: Sequence[str]) -> Path:
        return self.root.joinpath(*key)

    def exists(self, key: Sequence[str]) -> bool:
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(str(self.path(key)))

    def write(self, key: Sequence[str], frame: pl.DataFrame, table: Table, batch: str | None = None) -> Snapshot:
        """Makes ``frame`` the table's content, or with ``batch`` the content of that batch only.

        Unchanged content writes nothing and keeps its version. A kill in the middle leaves the former version.
        Processes that write different batches at once all succeed.

        Raises:
            ValueError: the frame does not have the table's columns, or holds rows of another batch.
            TableError: the disk is full, the folder cannot be written, or the stored schema does not fit.
        """
        frame = table.conform(frame).sort(table.order or table.key, nulls_last=True, maintain_order=True)
        _check_batch(frame, table, batch)
        wanted = content_hash(frame, table.key)
        path = self.path(key)
        for attempt in range(_ATTEMPTS):
            if self.exists(key):
                current = _state(_load(path), batch)
                if current is not None and current.content_hash == wanted:
                    return Snapshot(path, current.version, wanted, frame.height)
            with _explained(path, "written"):
                if (version := _commit(path, frame, wanted, batch)) is not None:
                    return Snapshot(path, version, wanted, frame.height, written=True)
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
        if _state(loaded, batch) is None:
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
        state = _state(loaded, batch)
        if state is None:
            raise MissingTableError(f"{path}: no batch {batch!r}; materialize it first")
        if state.content_hash is None:
            raise TableError(f"{path}: version {state.version} was written by another program; materialize it again")
        return Snapshot(path, state.version, state.content_hash, state.rows)

    def batches(self, key: Sequence[str], version: int | None = None) -> dict[str, str]:
        """Content hash of every batch of the table, batches without rows included."""
        found: dict[str, str] = {}
        for commit in _commits(_load(self.path(key), version)):
            if commit.batch is None or commit.content_hash is None:
                break
            found.setdefault(commit.batch, commit.content_hash)
        return found


def _check_batch(frame: pl.DataFrame, table: Table, batch: str | None) -> None:
    if batch is None:
        return
    if BATCH not in table.columns or not batch:
        raise ValueError(f"table {table.name} has no column `{BATCH}`, or the batch name {batch!r} is empty")
    others = frame.filter(pl.col(BATCH).ne_missing(batch))
    if not others.is_empty():
        raise ValueError(f"table {table.name}: rows of batch {others[BATCH][0]!r} in a write of batch {batch!r}")


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


def _commit(path: Path, frame: pl.DataFrame, hashed: str, batch: str | None) -> int | None:
    """The new version, or None when another process committed first."""
    from deltalake import CommitProperties, DeltaTable, write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    exists = DeltaTable.is_deltatable(str(path))
    record = {"content_hash": hashed, "rows": str(frame.height)} | ({} if batch is None else {BATCH: batch})
    where: dict[str, Any] = {}
    if exists and batch is not None:
        where = {"predicate": f"{BATCH} = '{batch.replace(chr(39), chr(39) * 2)}'", "schema_mode": "merge"}
    elif exists:
        where = {"schema_mode": "overwrite"}
    path.mkdir(parents=True, exist_ok=True)
    try:
        write_deltalake(
            str(path),
            frame,
            mode="overwrite",
            partition_by=None if batch is None else [BATCH],
            configuration=_KEEP,
            commit_properties=CommitProperties(custom_metadata=record),
            **where,
        )
    except CommitFailedError:
        return None
    except DeltaError:
        if not exists and DeltaTable.is_deltatable(str(path)):
            return None  # another process created the table between the look and the write
        raise
    done = next(commit for commit in _commits(_load(path)) if (commit.batch, commit.content_hash) == (batch, hashed))
    return done.version


def _commits(table: "DeltaTable") -> Iterator[_Commit]:
    """Commits that changed rows, newest first."""
    for entry in table.history():
        if entry.get("operation") in _SAME_ROWS:
            continue
        yield _Commit(entry["version"], entry.get(BATCH), entry.get("content_hash"), int(entry.get("rows", -1)))


def _state(table: "DeltaTable", batch: str | None) -> _Commit | None:
    """What the commits say the table (or batch) holds; None when the batch was never written.

    A commit without a record was made by someone else: everything before it says nothing of the present.
    """
    batches: dict[str, _Commit] = {}
    for commit in _commits(table):
        if commit.content_hash is None:
            return commit
        if commit.batch is None:
            if batch is not None:
                return None
            if not batches:
                return commit
            break
        if commit.batch == batch:
            return commit
        batches.setdefault(commit.batch, commit)
    if batch is not None or not batches:
        return None
    newest = max(each.version for each in batches.values())
    together = digest({name: each.content_hash for name, each in batches.items()})
    return _Commit(newest, None, together, sum(each.rows for each in batches.values()))


@contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    """Says which table, and what to do, of any failure below."""
    from deltalake.exceptions import DeltaError, SchemaMismatchError

    try:
        yield
    except TableError:
        raise
    except SchemaMismatchError as error:
        raise TableError(
            f"{path}: the stored columns do not fit ({error}); delete the folder and materialize"
        ) from error
    except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        advice = "the disk is full; free some space and run again" if full else str(error)
        raise TableError(f"{path}: the table cannot be {what}: {advice}") from error
