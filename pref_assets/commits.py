"""Delta commits that carry a record of what they wrote, and what those records say a table holds."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pref_assets.pairs.schema import Table
from pref_assets.settings import digest
from pref_assets.staging import BATCH, Part

if TYPE_CHECKING:
    from deltalake import DeltaTable

_KEEP = {
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}
_SAME_ROWS = {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES"}


class StoredColumnsError(ValueError):
    """Rows cannot stand beside those that the table keeps."""


@dataclass(frozen=True)
class Commit:
    """The record of a commit: which batch (null for the whole table) it replaced by which rows.

    ``content_hash`` is null when another program made the commit; ``version`` is -1 before it is made.
    """

    batch: str | None
    content_hash: str | None
    rows: int
    version: int = -1


def commit(path: Path, parts: Sequence[Part], table: Table, record: Commit) -> int | None:
    """Makes the files the content of the table, or of the record's batch, in one atomic step.

    Returns:
        The new version, or None when another process committed first; then nothing changed.

    Raises:
        StoredColumnsError: the other batches have columns of other types, or the table is cut otherwise.
        OSError, deltalake.exceptions.DeltaError: the folder cannot be written.
    """
    from deltalake import CommitProperties, DeltaTable, Schema
    from deltalake.exceptions import CommitFailedError, DeltaError
    from deltalake.transaction import create_table_with_add_actions

    loaded = DeltaTable(str(path)) if DeltaTable.is_deltatable(str(path)) else None
    if loaded is not None:
        _check_columns(loaded, table, record.batch)
    said = {"content_hash": str(record.content_hash), "rows": str(record.rows)}
    if record.batch is not None:
        said[BATCH] = record.batch
    schema, properties = Schema.from_arrow(table.schema), CommitProperties(custom_metadata=said)
    cut = None if record.batch is None else [BATCH]
    placed = _place(path, parts, record.batch)
    try:
        if loaded is None:
            create_table_with_add_actions(
                str(path), schema, placed, "error", cut, configuration=_KEEP, commit_properties=properties
            )
        else:
            only = None if record.batch is None else [(BATCH, "=", record.batch)]
            loaded.create_write_transaction(placed, "overwrite", schema, cut, only, commit_properties=properties)
    except CommitFailedError:
        _unplace(path, placed)
        return None
    except DeltaError:
        _unplace(path, placed)
        if loaded is None and DeltaTable.is_deltatable(str(path)):
            return None  # another process created the table between the look and the write
        raise
    wanted = (record.batch, record.content_hash)
    return next(each.version for each in commits(DeltaTable(str(path))) if (each.batch, each.content_hash) == wanted)


def commits(table: "DeltaTable") -> Iterator[Commit]:
    """Commits that changed rows, newest first."""
    for entry in table.history():
        if entry.get("operation") in _SAME_ROWS:
            continue
        yield Commit(entry.get(BATCH), entry.get("content_hash"), int(entry.get("rows", -1)), entry["version"])


def state(table: "DeltaTable", batch: str | None) -> Commit | None:
    """What the commits say the table (or batch) holds; None when the batch was never written.

    A commit without a record was made by someone else: everything before it says nothing of the present.
    """
    batches: dict[str, Commit] = {}
    for each in commits(table):
        if each.content_hash is None:
            return each
        if each.batch is None:
            if batch is not None:
                return None
            if not batches:
                return each
            break
        if each.batch == batch:
            return each
        batches.setdefault(each.batch, each)
    if batch is not None or not batches:
        return None
    newest = max(each.version for each in batches.values())
    together = digest({name: each.content_hash for name, each in batches.items()})
    return Commit(None, together, sum(each.rows for each in batches.values()), newest)


def _check_columns(loaded: "DeltaTable", table: Table, batch: str | None) -> None:
    from deltalake import Schema

    cut = loaded.metadata().partition_columns
    if bool(cut) != (batch is not None):
        raise StoredColumnsError("it is stored in batches" if cut else "it is stored whole, not in batches")
    if batch is None:
        return
    stored = {field.name: field.type for field in loaded.schema().fields}
    given = {field.name: field.type for field in Schema.from_arrow(table.schema).fields}
    if changed := sorted(name for name in stored.keys() & given.keys() if stored[name] != given[name]):
        raise StoredColumnsError(f"columns {', '.join(changed)} of its other batches have another type")


def _place(path: Path, parts: Sequence[Part], batch: str | None) -> list[Any]:
    """The files inside the table's folder under new names, as actions of a commit."""
    from deltalake.transaction import AddAction

    folder = "" if batch is None else f"{BATCH}={quote(batch, safe='')}/"
    (path / folder).mkdir(parents=True, exist_ok=True)
    actions = []
    for number, part in enumerate(parts):
        name = f"{folder}part-{number:05d}-{uuid.uuid4().hex}.parquet"
        _link(part.path, path / name)
        found = part.path.stat()
        values = {} if batch is None else {BATCH: batch}
        made = int(found.st_mtime * 1000)
        actions.append(AddAction(name, found.st_size, values, made, True, json.dumps(part.stats)))
    return actions


def _link(file: Path, target: Path) -> None:
    """The file under a second name, so that what was staged stays readable; a copy where links are not possible."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _unplace(path: Path, actions: Sequence[Any]) -> None:
    for action in actions:
        (path / action.path).unlink(missing_ok=True)
