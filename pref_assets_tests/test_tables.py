"""Versioned tables: round trips, unchanged writes, batches, processes at once, kills and full disks."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from pref_assets.content import content_hash
from pref_assets.pairs import schema
from pref_assets.pairs.schema import CENTROIDS, PAIR_SCORES, PAIRS, RAW, Table
from pref_assets.tables import MissingTableError, TableError, TableStore

KEY = ["demo", "raw", "verifiable"]
TABLES = [value for value in vars(schema).values() if isinstance(value, Table)]


def raw(batch: str, payloads: list[str]) -> pl.DataFrame:
    return RAW.frame(
        {"source": "s", "uri": "f", "row": i, "batch": batch, "payload": p} for i, p in enumerate(payloads, 1)
    )


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_an_empty_and_an_all_null_frame_keep_their_types(store: TableStore, table: Table) -> None:
    for frame in (table.empty(), table.frame([{}])):
        store.write([table.name], frame, table)
        assert store.read([table.name]).schema == table.schema
        assert store.read([table.name]).equals(frame)


def test_nested_values_come_back_as_they_went_in(store: TableStore) -> None:
    vote = {"annotator": None, "dimension": "overall", "choice": "chosen", "strength": 0.5, "rationale": "é\n'"}
    pairs = PAIRS.frame([{"pair_id": "1", "votes": [vote]}, {"pair_id": "2", "votes": []}, {"pair_id": "3"}])
    store.write(["pairs"], pairs, PAIRS)
    assert store.read(["pairs"]).equals(pairs)
    centroids = CENTROIDS.frame([{"cluster": 0, "centroid": [0.1, None, 3.0]}])
    store.write(["centroids"], centroids, CENTROIDS)
    assert store.read(["centroids"]).equals(centroids)
    assert store.read(["centroids"], columns=["cluster"]).columns == ["cluster"]


def test_unchanged_content_in_any_order_writes_nothing(store: TableStore) -> None:
    frame = PAIR_SCORES.frame([{"pair_id": "a", "score": 1.0}, {"pair_id": "b", "score": 2.0}])
    first = store.write(KEY, frame, PAIR_SCORES)
    again = store.write(KEY, frame.reverse(), PAIR_SCORES)
    assert (first.written, again.written) == (True, False)
    assert (again.version, again.content_hash, again.rows) == (first.version, first.content_hash, 2)
    assert DeltaTable(str(first.path)).version() == 0
    assert store.snapshot(KEY).content_hash == content_hash(frame)


def test_old_versions_stay_readable(store: TableStore) -> None:
    old = store.write(KEY, PAIR_SCORES.frame([{"pair_id": "a", "score": 1.0}]), PAIR_SCORES)
    new = store.write(KEY, PAIR_SCORES.frame([{"pair_id": "b", "score": 2.0}]), PAIR_SCORES)
    assert (old.version, new.version) == (0, 1)
    assert store.read(KEY, version=0)["pair_id"].to_list() == ["a"]
    assert store.read(KEY)["pair_id"].to_list() == ["b"]
    with pytest.raises(MissingTableError, match="no version 7; the table has versions 0 to 1"):
        store.read(KEY, version=7)


def test_a_batch_replaces_only_its_own_rows(store: TableStore) -> None:
    odd = "it's 50%/é, =x"
    store.write(KEY, raw("one", ["1", "2"]), RAW, batch="one")
    store.write(KEY, raw(odd, ["3"]), RAW, batch=odd)
    changed = store.write(KEY, raw("one", ["9"]), RAW, batch="one")
    same = store.write(KEY, raw(odd, ["3"]), RAW, batch=odd)
    assert (changed.version, same.version, same.written) == (2, 1, False)
    assert store.read(KEY, batch="one")["payload"].to_list() == ["9"]
    assert store.read(KEY, batch=odd)["payload"].to_list() == ["3"]
    assert sorted(store.read(KEY)["payload"]) == ["3", "9"]
    assert store.read(KEY, version=1, batch="one")["payload"].to_list() == ["1", "2"]
    assert store.batches(KEY) == {"one": changed.content_hash, odd: same.content_hash}
    assert store.snapshot(KEY).rows == 2


def test_an_empty_batch_is_known_and_an_unknown_one_is_an_error(store: TableStore) -> None:
    store.write(KEY, raw("one", ["1"]), RAW, batch="one")
    emptied = store.write(KEY, RAW.empty(), RAW, batch="one")
    assert emptied.written
    assert store.read(KEY, batch="one").equals(RAW.empty())
    assert list(store.batches(KEY)) == ["one"]
    with pytest.raises(MissingTableError, match=r"no batch 'two' \(batches: one\); materialize it first"):
        store.read(KEY, batch="two")


def test_the_whole_tables_hash_follows_its_batches_not_their_order(tmp_path: Path) -> None:
    hashes = []
    for order in (("a", "b"), ("b", "a")):
        store = TableStore(tmp_path / order[0])
        for batch in order:
            store.write(KEY, raw(batch, [batch]), RAW, batch=batch)
        hashes.append(store.snapshot(KEY).content_hash)
    assert hashes[0] == hashes[1]
    store.write(KEY, raw("a", ["other"]), RAW, batch="a")
    assert store.snapshot(KEY).content_hash != hashes[0]


def test_wrong_frames_are_refused(store: TableStore) -> None:
    with pytest.raises(ValueError, match="missing columns"):
        store.write(KEY, pl.DataFrame({"pair_id": ["a"]}), PAIR_SCORES)
    with pytest.raises(ValueError, match="rows of batch 'one' in a write of batch 'two'"):
        store.write(KEY, raw("one", ["1"]), RAW, batch="two")
    with pytest.raises(ValueError, match="no column `batch`"):
        store.write(KEY, PAIR_SCORES.empty(), PAIR_SCORES, batch="one")
    assert not store.exists(KEY)


def test_missing_tables_and_columns_are_named(store: TableStore) -> None:
    with pytest.raises(MissingTableError, match=r"demo/raw/verifiable: no such table; materialize"):
        store.read(KEY)
    store.write(KEY, PAIR_SCORES.empty(), PAIR_SCORES)
    with pytest.raises(TableError, match=r"no columns \['nope'\]"):
        store.read(KEY, columns=["nope"])


def test_a_foreign_write_is_noticed(store: TableStore) -> None:
    frame = PAIR_SCORES.frame([{"pair_id": "a"}])
    path = store.write(KEY, frame, PAIR_SCORES).path
    DeltaTable(str(path)).optimize.compact()
    assert not store.write(KEY, frame, PAIR_SCORES).written
    write_deltalake(str(path), frame, mode="append")
    with pytest.raises(TableError, match="written by another program"):
        store.snapshot(KEY)
    assert store.write(KEY, frame, PAIR_SCORES).written
    assert store.read(KEY).height == 1


def test_a_table_follows_its_schema_when_the_code_changes(store: TableStore) -> None:
    before = Table("t", ("id",), {"id": schema.Column(pl.String, ""), "x": schema.Column(pl.Int64, "")})
    after = Table("t", ("id",), {"id": schema.Column(pl.String, ""), "y": schema.Column(pl.String, "")})
    store.write(KEY, before.frame([{"id": "a", "x": 1}]), before)
    store.write(KEY, after.frame([{"id": "a", "y": "z"}]), after)
    assert store.read(KEY).schema == after.schema
    assert store.read(KEY, version=0).schema == before.schema


def test_a_commit_that_fails_leaves_the_former_version_and_no_file(
    store: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(KEY, raw("one", ["1"]), RAW, batch="one")
    before = sorted(store.path(KEY).rglob("*"))

    def fails(*_: object, **__: object) -> None:
        raise DeltaError("the disk went away")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", fails)
    with pytest.raises(TableError, match="demo/raw/verifiable: the table cannot be written: the disk went away"):
        store.write(KEY, raw("one", ["2"]), RAW, batch="one")
    assert store.read(KEY)["payload"].to_list() == ["1"]
    assert sorted(store.path(KEY).rglob("*")) == before
    assert not list(store.staging.iterdir())


def test_batches_of_other_columns_do_not_mix(store: TableStore) -> None:
    columns = {"id": schema.Column(pl.String, ""), "batch": schema.Column(pl.String, "")}
    number, text = (
        Table("t", ("id",), {**columns, "x": schema.Column(dtype, "")}) for dtype in (pl.Int64(), pl.String())
    )
    store.write(KEY, number.frame([{"id": "a", "batch": "one", "x": 1}]), number, batch="one")
    with pytest.raises(TableError, match="columns x of its other batches have another type; delete the folder"):
        store.write(KEY, text.frame([{"id": "a", "batch": "two", "x": "1"}]), text, batch="two")
    with pytest.raises(TableError, match="it is stored in batches; delete the folder"):
        store.write(KEY, number.empty(), number)
    more = Table("t", ("id",), {**number.columns, "y": schema.Column(pl.String, "")})
    store.write(KEY, more.frame([{"id": "b", "batch": "two", "x": 2, "y": "z"}]), more, batch="two")
    assert store.read(KEY).sort("id").rows() == [("a", "one", 1, None), ("b", "two", 2, "z")]


def test_a_version_is_hashed_again_from_its_rows(store: TableStore) -> None:
    first = store.write(KEY, raw("one", ["1", "2"]), RAW)
    store.write(KEY, raw("one", ["3"]), RAW)
    assert store.rehashed(KEY, RAW, first.version) == first.content_hash
    assert store.rehashed(KEY, RAW, first.version + 1) == store.snapshot(KEY).content_hash != first.content_hash


WRITER = """
import sys, time
from pathlib import Path
from pref_assets.pairs.schema import RAW
from pref_assets.tables import TableStore
batch, turns, rows = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(turns):
    frame = RAW.frame({"uri": "f", "row": i, "batch": batch, "payload": f"{turn}" * 50} for i in range(rows))
    TableStore(Path(sys.argv[1])).write(["t"], frame, RAW, batch=batch)
    print("wrote", flush=True)
"""


def writer(root: Path, batch: str, turns: int, rows: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(root), batch, str(turns), str(rows)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_processes_that_write_different_batches_at_once_all_succeed(tmp_path: Path) -> None:
    children = [writer(tmp_path, f"b{i}", turns=5, rows=20) for i in range(3)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    store = TableStore(tmp_path)
    assert store.read(["t"]).height == 60
    assert set(store.read(["t"])["payload"]) == {"4" * 50}
    assert sorted(store.batches(["t"])) == ["b0", "b1", "b2"]
    assert DeltaTable(str(tmp_path / "t")).version() == 14


def test_a_kill_in_the_middle_leaves_a_whole_version(tmp_path: Path) -> None:
    child = writer(tmp_path, "b", turns=1000, rows=20_000)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("go\n")
    child.stdin.flush()
    child.stdout.readline()
    time.sleep(0.37)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    frame = TableStore(tmp_path).read(["t"])
    assert frame.height == 20_000
    assert frame["payload"].n_unique() == 1
    assert TableStore(tmp_path).write(["t"], raw("b", ["x"]), RAW, batch="b").rows == 1


def test_a_full_disk_keeps_the_former_version_and_says_so(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    store.write(["t"], raw("b", ["x"]), RAW)
    script = """
        import resource, sys, random
        from pathlib import Path
        from pref_assets.pairs.schema import RAW
        from pref_assets.tables import TableError, TableStore
        rows = [{"row": i, "payload": random.randbytes(50).hex()} for i in range(20_000)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            TableStore(Path(sys.argv[1])).write(["t"], RAW.frame(rows), RAW)
        except TableError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert f"{tmp_path / 't'}: the table cannot be written" in done.stdout, done.stderr
    assert store.read(["t"])["payload"].to_list() == ["x"]
