"""Staging: the same rows in any order and any parts make the same table, in bounded memory, read by range."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pref_assets.pairs.schema import COMPARISONS, RAW, RECORD_VOTES, Column, Table
from pref_assets.staging import Limits, Stage, Staged, scratch
from pref_assets.tables import TableError, TableStore

TINY = Limits(rows=4, group_rows=2, run_group_rows=1, samples=2)
FLAT = Table(
    "flat",
    ("a", "b"),
    {"a": Column(pl.String, ""), "b": Column(pl.Int64, ""), "x": Column(pl.Float64, "")},
)
ROWS = st.lists(
    st.tuples(st.none() | st.sampled_from("abc"), st.none() | st.integers(0, 3), st.none() | st.floats()), max_size=40
)


def flat(rows: list[tuple[str | None, int | None, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=FLAT.schema, orient="row")


def stage(folder: Path, table: Table, frames: Iterable[pl.DataFrame], batch: str | None, limits: Limits) -> Staged:
    staging = Stage(folder, table, batch, limits)
    for frame in frames:
        staging.add(frame)
    return staging.finish()


def pieces(frame: pl.DataFrame, size: int) -> Iterator[pl.DataFrame]:
    return frame.iter_slices(size) if frame.height else iter([frame])


@given(rows=ROWS, size=st.integers(1, 9), load=st.integers(1, 9))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_spilling_gives_what_sorting_in_memory_gives(tmp_path: Path, rows: list, size: int, load: int) -> None:
    frame = flat(rows)
    limits = Limits(rows=load, group_rows=2, run_group_rows=1, samples=2)
    with scratch(tmp_path) as folder:
        staged = stage(folder, FLAT, pieces(frame, size), None, limits)
        assert staged.scan().collect().equals(frame.sort("a", "b", nulls_last=True, maintain_order=True))
        assert staged.rows == len(rows)
        assert {part.path for part in staged.parts} == set(folder.iterdir())


def test_frames_in_order_are_written_as_they_come(tmp_path: Path) -> None:
    rows = [(letter, 1, None) for letter in "aabbcddd"] + [(None, 1, None)]
    limits = Limits(rows=2, samples=2)
    with scratch(tmp_path) as folder:
        staged = stage(folder, FLAT, flat(rows).iter_slices(2), None, limits)
        assert [part.path.name for part in staged.parts] == [f"{n:05d}.parquet" for n in range(5)]
        assert staged.scan().collect().equals(flat(rows))
    with scratch(tmp_path) as folder:
        late = [*rows, ("c", 0, None)]
        staged = stage(folder, FLAT, flat(late).iter_slices(2), None, limits)
        assert all(part.path.name.startswith("merged") for part in staged.parts)
        assert staged.scan().collect().equals(flat(late).sort("a", "b", nulls_last=True, maintain_order=True))


@given(data=st.data(), rows=ROWS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_neither_order_nor_parts_change_the_hash(tmp_path: Path, data: st.DataObject, rows: list) -> None:
    other = data.draw(st.permutations(rows))
    size = data.draw(st.integers(1, 9))
    with scratch(tmp_path) as one, scratch(tmp_path) as two:
        first = stage(one, FLAT, [flat(rows)], None, Limits())
        second = stage(two, FLAT, pieces(flat(other), size), None, TINY)
        assert first.content_hash == second.content_hash


def test_every_load_is_bounded_and_ranges_follow_each_other(tmp_path: Path) -> None:
    frame = flat([(f"{(i * 7919) % 1000:04d}", i, None) for i in range(1000)])
    staged = stage(tmp_path, FLAT, frame.iter_slices(50), None, Limits(rows=100, group_rows=10, samples=50))
    heights = [part.stats["numRecords"] for part in staged.parts]
    assert sum(heights) == 1000
    assert len(heights) >= 10
    assert max(heights) <= 150
    for before, after in zip(staged.parts, staged.parts[1:], strict=False):
        assert before.stats["maxValues"]["a"] <= after.stats["minValues"]["a"]
    assert pq.ParquetFile(staged.parts[0].path).metadata.row_group(0).num_rows == 10


def test_long_rows_count_by_their_bytes(tmp_path: Path) -> None:
    rows = RAW.frame({"source": "s", "uri": "f", "row": i, "batch": "b", "payload": "x" * 10_000} for i in range(100))
    staged = stage(tmp_path, RAW, rows.iter_slices(10), "b", Limits(bytes=200_000))
    assert len(staged.parts) >= 4
    assert staged.scan().collect().equals(rows)


def test_nulls_of_the_order_column_come_last(tmp_path: Path) -> None:
    rows = [{"prompt_id": None if i % 3 else f"p{i:02d}", "completion_a": f"{i:02d}"} for i in range(30)]
    staged = stage(tmp_path, RECORD_VOTES, RECORD_VOTES.frame(rows).iter_slices(4), None, TINY)
    found = staged.scan().collect()["prompt_id"].to_list()
    assert found == [f"p{i:02d}" for i in range(0, 30, 3)] + [None] * 20
    assert sum(part.stats["nullCount"]["prompt_id"] for part in staged.parts) == 20


def test_staged_rows_become_a_version_and_stay_readable(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "tables", TINY)
    rows = RAW.frame({"source": "s", "uri": "f", "row": i, "batch": "one", "payload": str(i)} for i in range(20))
    staged = store.stage(RAW, rows.reverse().iter_slices(3), "one")
    assert not store.path(["t"]).exists()
    written = store.write(["t"], staged, RAW, "one")
    assert (written.rows, written.content_hash, written.written) == (20, staged.content_hash, True)
    assert store.read(["t"], batch="one").equals(rows)
    assert staged.head(2).equals(rows.head(2))
    assert not store.write(["t"], rows, RAW, "one").written
    with pytest.raises(
        ValueError, match="rows staged for table raw, batch 'one', in a write of table raw, batch 'two'"
    ):
        store.write(["t"], staged, RAW, "two")


def test_a_range_reads_its_row_groups_and_nothing_else(tmp_path: Path) -> None:
    """Everything outside the range is overwritten with zeros: reading it fails, reading the range does not."""
    store = TableStore(tmp_path / "tables", Limits(rows=1000, group_rows=100))
    frame = COMPARISONS.frame(
        {"prompt_id": f"p{i:05d}", "pair_id": f"{i}", "provenance": [], "votes": [], "reason": "r" * (i % 7)}
        for i in range(5000)
    )
    store.write(["t"], store.stage(COMPARISONS, frame.iter_slices(500)), COMPARISONS)
    first, last = pl.lit("p02110"), pl.lit("p02150")
    files = sorted(store.path(["t"]).glob("*.parquet"))
    assert len(files) >= 4
    spared = 0
    for file in files:
        metadata = pq.ParquetFile(file).metadata
        data = bytearray(file.read_bytes())
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
            statistics = columns["prompt_id"].statistics
            if statistics.max >= "p02110" and statistics.min <= "p02150":
                spared += group.num_rows
                continue
            for column in columns.values():
                start = column.dictionary_page_offset or column.data_page_offset
                data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
        file.unlink()
        file.write_bytes(data)
    assert 41 <= spared <= 200
    found = store.scan(["t"]).filter(pl.col("prompt_id").is_between(first, last)).collect()
    assert found.equals(frame[2110:2151])
    with pytest.raises(TableError):
        store.read(["t"])


def test_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "tables")
    for end, left in (("ended", 0), ("killed", 1)):
        subprocess.run([sys.executable, "-c", LEAVE, str(store.root), end], timeout=60, check=False)
        assert len(list(store.staging.iterdir())) == left
    kept = store.stage(RAW, [RAW.frame([{"row": 1}])])
    assert len(list(store.staging.iterdir())) == 1
    assert kept.head(1).height == 1
    assert str(os.getpid()) in kept.parts[0].path.parent.name


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Peak memory of staging 160 MB of rows is that of staging 40 MB, give or take a load."""
    peaks = []
    for rows in (10_000, 40_000):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(tmp_path / str(rows)), str(rows)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 60


LEAVE = """
import os, sys
from pathlib import Path
from pref_assets.pairs.schema import PAIRS
from pref_assets.tables import TableStore
TableStore(Path(sys.argv[1])).stage(PAIRS, [PAIRS.frame([{"pair_id": "a"}])])
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
"""
MEASURE = """
import random, resource, sys
from pathlib import Path
from pref_assets.pairs.schema import RAW
from pref_assets.staging import Limits
from pref_assets.tables import TableStore
generator = random.Random(0)
def frames(n):
    for start in range(0, n, 500):
        yield RAW.frame(
            {"source": "s", "uri": "f", "row": (i * 7919) % n, "batch": "b", "payload": generator.randbytes(2000).hex()}
            for i in range(start, start + 500)
        )
store = TableStore(Path(sys.argv[1]) / "tables", Limits(bytes=8 * 2**20, group_rows=1000, run_group_rows=500))
staged = store.stage(RAW, frames(int(sys.argv[2])), "b")
assert staged.rows == int(sys.argv[2])
store.write(["t"], staged, RAW, "b")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
