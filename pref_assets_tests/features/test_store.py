"""The store under repetition, changed settings, concurrent writers and kills. Writers are real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from pref_assets.features.store import MissingRowsError, Store

WRITER = """
import sys, time
from pathlib import Path
import polars as pl
from pref_assets.features.store import Store
root, name, chunks, rows, pause = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
store = Store(root)
print("ready", flush=True)
sys.stdin.readline()
for chunk in range(chunks):
    ids = [f"{name}{chunk * rows + row:05}" for row in range(rows)] + [f"shared{chunk:03}"]
    vector = [[float(len(name))] * 8] * len(ids)
    frame = pl.DataFrame({"id": ids, "vector": vector}, schema={"id": pl.String, "vector": pl.List(pl.Float32)})
    store.append("vectors", "k", frame)
    print(chunk, flush=True)
    time.sleep(pause)
"""


def start_writer(root: Path, name: str, chunks: int, rows: int, pause: float = 0.0) -> subprocess.Popen:
    arguments = [sys.executable, "-c", WRITER, str(root), name, str(chunks), str(rows), str(pause)]
    writer = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def go(writer: subprocess.Popen) -> None:
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()


def rows(*ids: str, value: float = 0.0) -> pl.DataFrame:
    return pl.DataFrame({"id": list(ids), "value": [value] * len(ids)}, schema={"id": pl.String, "value": pl.Float64})


def test_only_what_is_missing_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.missing("vectors", "k", ["b", "a", "b"]) == ["b", "a"]
    store.append("vectors", "k", rows("a"))
    store.append("vectors", "k", rows("c"))
    assert store.missing("vectors", "k", ["b", "a", "d", "c", "b"]) == ["b", "d"]


def test_another_key_or_kind_shares_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append("vectors", "model=a/b c%", rows("a", value=1.0))
    store.append("vectors", "other", rows("a", value=2.0))
    assert store.missing("vectors", "third", ["a"]) == ["a"]
    assert store.missing("logps", "other", ["a"]) == ["a"]
    assert store.read("vectors", "model=a/b c%", ["a"])["value"].to_list() == [1.0]
    assert store.read("vectors", "other", ["a"])["value"].to_list() == [2.0]


def test_rows_come_back_in_the_order_asked_each_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append("vectors", "k", rows("a", "b", "c"))
    assert store.read("vectors", "k", ["c", "a", "c"])["id"].to_list() == ["c", "a"]
    assert store.read("vectors", "k")["id"].to_list() == ["a", "b", "c"]
    assert store.read("vectors", "k", ["b"], columns=[]).columns == ["id"]


def test_an_id_that_was_never_computed_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(MissingRowsError, match="nothing was ever computed under key 'k'"):
        store.read("vectors", "k", ["a"])
    store.append("vectors", "k", rows("a"))
    with pytest.raises(MissingRowsError, match=r"2 of 3 ids were not computed, e\.g\. \['x', 'y'\]"):
        store.read("vectors", "k", ["y", "a", "x"])


def test_of_two_rows_with_one_id_the_first_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for value in (1.0, 2.0, 3.0):
        store.append("vectors", "k", rows("a", "b", value=value))
    assert store.read("vectors", "k", ["b", "a"]).rows() == [("b", 1.0), ("a", 1.0)]


def test_frames_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ValueError, match="null or repeated ids"):
        store.append("vectors", "k", rows("a", "a"))
    store.append("vectors", "k", rows("a"))
    with pytest.raises(ValueError, match="holds columns"):
        store.append("vectors", "k", rows("b").with_columns(extra=1))
    with pytest.raises(ValueError, match="holds columns"):
        store.append("vectors", "k", rows("b").with_columns(pl.col("value").cast(pl.String)))
    assert store.read("vectors", "k")["id"].to_list() == ["a"]


def test_an_empty_frame_writes_nothing(tmp_path: Path) -> None:
    Store(tmp_path).append("vectors", "k", rows())
    assert not (tmp_path / "vectors").exists()


def test_two_processes_append_at_once(tmp_path: Path) -> None:
    """From the creation of the table on, nothing is lost, and ids that both wrote are read once."""
    chunks, size = 8, 4
    writers = [start_writer(tmp_path, name, chunks, size) for name in ("a", "bb")]
    for writer in writers:
        go(writer)
    assert [writer.wait(200) for writer in writers] == [0, 0]
    found = Store(tmp_path).read("vectors", "k")
    shared = [f"shared{chunk:03}" for chunk in range(chunks)]
    expected = [f"{name}{row:05}" for name in ("a", "bb") for row in range(chunks * size)] + shared
    assert found["id"].to_list() == sorted(expected)
    for id_, vector in found.iter_rows():
        assert len(set(vector)) == 1
        assert vector[0] in ({1.0, 2.0} if id_.startswith("shared") else {float(len(id_) - 5)})
    assert found.equals(Store(tmp_path).read("vectors", "k", sorted(expected)))


@pytest.mark.parametrize("delay", [0.0, 0.006, 0.013])
def test_a_killed_writer_leaves_whole_chunks(tmp_path: Path, delay: float) -> None:
    size = 20
    writer = start_writer(tmp_path, "a", 1000, size)
    go(writer)
    assert writer.stdout is not None
    for _ in range(3):
        writer.stdout.readline()
    time.sleep(delay)  # somewhere inside an append
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait(60)

    store = Store(tmp_path)
    found = store.read("vectors", "k").filter(pl.col("id").str.starts_with("a"))
    assert len(found) >= 3 * size
    assert len(found) % size == 0
    wanted = [f"a{row:05}" for row in range(len(found) + 5)]
    assert store.missing("vectors", "k", wanted) == wanted[-5:]
    store.append("vectors", "k", pl.DataFrame({"id": wanted[-5:], "vector": [[0.0]] * 5}, schema=found.schema))
    assert store.missing("vectors", "k", wanted) == []
