"""Staging: rows of a table on disk, sorted and hashed, before they become a version of it.

Frames of any number arrive in any order; memory holds one load of them (``Limits``). What does not fit is spilled as
sorted runs, and the runs are merged range by range, so the result is the same as sorting everything at once. Frames
that arrive in order are written once.
"""

import atexit
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.content import ContentHasher
from pref_assets.pairs.schema import (
    Table,
)

BATCH = "batch"
"""Column that partitions a table written in batches."""
_LOAD = "__load"
_BOUND = "__bound"


@dataclass(frozen=True)
class Limits:
    """How much is in memory at once, and how finely files are cut."""

    rows: int = 200_000
    """Rows sorted at once."""
    bytes: int = 128 * 2**20
    """Bytes sorted at once. Sorting takes about four times as much."""
    group_rows: int = 10_000
    """Rows of a Parquet row group, the least that a range of rows reads."""
    run_group_rows: int = 2_000
    """The same in spilled runs, of which every merged range reads a few."""
    samples: int = 200
    """Keys of a run that are looked at to cut ranges of equal size."""


@dataclass(frozen=True)
class Part:
    """A sorted Parquet file. ``stats`` are its row count and the range of its first order column, as Delta has them."""

    path: Path
    stats: dict[str, Any]


@dataclass(frozen=True)
class Staged:
    """Rows of a table on disk: conformed, hashed, in the table's order. They are there until the process ends.

    Attributes:
        table: the schema they conform to.
        batch: the batch they are of; null for a whole table.
        content_hash: ``content.content_hash`` of the rows.
        rows: how many.
        parts: files in order; the rows of one come before those of the next. Without the batch column when ``batch``
            is set, since Delta keeps that in the folder's name.
    """

    table: Table
    batch: str | None
    content_hash: str
    rows: int
    parts: tuple[Part, ...]

    def scan(self) -> pl.LazyFrame:
        """The rows in order, not read yet."""
        if not self.parts:
            return self.table.empty().lazy()
        frame = pl.scan_parquet([part.path for part in self.parts], glob=False, hive_partitioning=False)
        if self.batch is not None:
            frame = frame.with_columns(pl.lit(self.batch).alias(BATCH))
        return frame.select(list(self.table.columns))

    def head(self, n: int) -> pl.DataFrame:
        """The first rows."""
        return self.scan().head(n).collect()


class Stage:
    """Staging in the making: frames go in by ``add``, and ``finish`` gives what they make together."""

    def __init__(self, folder: Path, table: Table, batch: str | None, limits: Limits) -> None:
        """``folder`` is empty, and the caller says how long it lasts. With ``batch``, every row must be of it."""
        self._table = table
        self._batch = batch
        self._hasher = ContentHasher(table.schema)
        self._sorter = _Sorter(folder, table, batch, limits)

    def add(self, frame: pl.DataFrame) -> None:
        """Takes the rows in, of any number that fits memory together with one load.

        Raises:
            ValueError: the frame does not conform, or holds rows of another batch.
            OSError, polars.exceptions.PolarsError: the disk is full or cannot be written.
        """
        conformed = self._table.conform(frame)
        check_batch(conformed, self._table, self._batch)
        self._hasher.add(conformed)
        self._sorter.add(conformed)

    def finish(self) -> Staged:
        """Everything that was added, sorted and hashed. Call it once; raises as ``add`` does."""
        parts = self._sorter.finish()
        return Staged(self._table, self._batch, self._hasher.hexdigest(), self._hasher.rows, parts)


def check_batch(frame: pl.DataFrame, table: Table, batch: str | None) -> None:
    """Raises ``ValueError`` when rows are not of the batch, or the table has none."""
    if batch is None:
        return
    if BATCH not in table.columns or not batch:
        raise ValueError(f"table {table.name} has no column `{BATCH}`, or the batch name {batch!r} is empty")
    others = frame.filter(pl.col(BATCH).ne_missing(batch))
    if not others.is_empty():
        raise ValueError(f"table {table.name}: rows of batch {others[BATCH][0]!r} in a write of batch {batch!r}")


def write_sorted(
    folder: Path, table: Table, frame: pl.DataFrame, batch: str | None, limits: Limits
) -> tuple[Part, ...]:
    """A conformed frame as Parquet files in the table's order."""
    sorter = _Sorter(folder, table, batch, limits)
    sorter.add(frame)
    return sorter.finish()


class _Sorter:
    def __init__(self, folder: Path, table: Table, batch: str | None, limits: Limits) -> None:
        self._folder = folder
        self._left_out = [] if batch is None else [BATCH]
        self._order = [name for name in table.order or table.key if name not in self._left_out]
        self._limits = limits
        self._waiting: list[pl.DataFrame] = []
        self._load = 0.0
        self._parts: list[Part] | None = []
        """Files in order, as long as every run begins where the one before ends; then null."""
        self._last = pl.DataFrame()
        self._runs: list[Path] = []
        self._samples: list[pl.DataFrame] = []

    def add(self, frame: pl.DataFrame) -> None:
        if frame.is_empty():
            return
        self._waiting.append(frame.drop(self._left_out))
        self._load += self._loads(frame)
        if self._load >= 1:
            self._spill()

    def finish(self) -> tuple[Part, ...]:
        """Everything added, sorted; the runs are gone."""
        if self._waiting:
            self._spill()
        if self._parts is not None:
            return tuple(self._parts)
        parts = tuple(self._write(f"merged-{number:05d}", frame) for number, frame in enumerate(self._merged()))
        for run in self._runs:
            run.unlink()
        return parts

    def _loads(self, frame: pl.DataFrame) -> float:
        """Size in units of what may be in memory at once."""
        return max(frame.height / self._limits.rows, frame.estimated_size() / self._limits.bytes)

    def _taken(self) -> pl.DataFrame:
        frame = pl.concat(self._waiting)
        self._waiting, self._load = [], 0.0
        return frame

    def _sorted(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.sort(self._order, nulls_last=True, maintain_order=True)

    def _spill(self) -> None:
        run = self._sorted(self._taken())
        samples = run.select(self._order).gather_every(max(1, run.height // self._limits.samples))
        self._samples.append(samples.with_columns(pl.lit(self._loads(run) / samples.height).alias(_LOAD)))
        name = f"{len(self._runs):05d}"
        if self._parts is not None and self._follows(run):
            self._parts.append(self._write(name, run))
            self._runs.append(self._parts[-1].path)
            return
        self._parts = None
        path = self._folder / f"{name}.arrow"
        run.write_ipc(path, record_batch_size=self._limits.run_group_rows)
        self._runs.append(path)

    def _follows(self, run: pl.DataFrame) -> bool:
        """Whether the run begins where the one before it ends, or later."""
        keys = run.select(self._order)
        ends = pl.concat([self._last, keys.head(1)]) if self._last.height else keys.head(1)
        self._last = keys.tail(1)
        return ends.equals(self._sorted(ends))

    def _merged(self) -> Iterator[pl.DataFrame]:
        """Sorted ranges of all runs, each about one load, in order."""
        bounds = self._bounds()
        cuts = [self._cuts(run, bounds) for run in self._runs]
        for place in range(bounds.height + 1):
            pieces = [
                _scan(run).slice(cut[place], cut[place + 1] - cut[place]).collect()
                for run, cut in zip(self._runs, cuts, strict=True)
                if cut[place + 1] > cut[place]
            ]
            if pieces:
                yield self._sorted(pl.concat(pieces))

    def _bounds(self) -> pl.DataFrame:
        """Keys at which one range ends and the next begins."""
        samples = self._sorted(pl.concat(self._samples))
        full = pl.col(_LOAD).cum_sum().floor()
        bounds = samples.filter(full > full.shift(1, fill_value=0)).select(self._order)
        return bounds.unique(maintain_order=True)

    def _cuts(self, run: Path, bounds: pl.DataFrame) -> list[int]:
        """Row numbers at which the ranges begin in a run, and its height. A row equal to a bound is after it."""
        keys = _scan(run).select(self._order).collect()
        marked = pl.concat(
            [bounds.with_columns(pl.lit(True).alias(_BOUND)), keys.with_columns(pl.lit(False).alias(_BOUND))]
        )
        places = self._sorted(marked)[_BOUND].arg_true()
        return [0, *(places - pl.int_range(places.len(), eager=True)).to_list(), keys.height]

    def _write(self, name: str, frame: pl.DataFrame) -> Part:
        path = self._folder / f"{name}.parquet"
        frame.write_parquet(path, compression="zstd", compression_level=1, row_group_size=self._limits.group_rows)
        return Part(path, _stats(frame, self._order[0]))


def _scan(run: Path) -> pl.LazyFrame:
    if run.suffix == ".arrow":
        return pl.scan_ipc(run)
    return pl.scan_parquet(run, glob=False, hive_partitioning=False)


def _stats(frame: pl.DataFrame, first: str) -> dict[str, Any]:
    values = frame[first]
    known = values.drop_nulls()
    found: dict[str, Any] = {"numRecords": frame.height, "nullCount": {first: values.null_count()}}
    if known.len() and values.dtype in (pl.String, pl.Int64, pl.Int32):
        found |= {"minValues": {first: known[0]}, "maxValues": {first: known[-1]}}
    return found


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """A new folder below ``root`` that is gone afterwards."""
    folder = _new_folder(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lasting(root: Path) -> Path:
    """A new folder below ``root`` that is gone when this process ends."""
    folder = _new_folder(root)
    atexit.register(_remove, folder, os.getpid())
    return folder


def _new_folder(root: Path) -> Path:
    """A folder that tells its process; those of processes that died are removed."""
    host = socket.gethostname()
    for left in root.glob(f"{host}~*"):
        if not _alive(int(left.name.split("~")[1])):
            shutil.rmtree(left, ignore_errors=True)
    folder = root / f"{host}~{os.getpid()}~{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    return folder


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in a forked child, which ends before its parent
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
