import gzip
import json
import time

import fsspec
import polars as pl
import pytest

from pref_assets.pairs.locations import LocationError, SourceFile
from pref_assets.pairs.places import RemoteFile, find_places, look, pinned, place_of
from pref_assets.pairs.reading import UnreadableError, read_chunks

GOOD = {"prompt": "é", "chosen": "a", "rejected": "b"}


@pytest.fixture
def bucket():
    """A folder of an object store that lives in memory."""
    store = fsspec.filesystem("memory")
    table = pl.DataFrame([GOOD]).write_ipc(None).getvalue()
    store.pipe("/bucket/b.jsonl.gz", gzip.compress(json.dumps(GOOD).encode() + b"\noops"))
    store.pipe("/bucket/a.json", json.dumps([GOOD, GOOD]).encode())
    store.pipe("/bucket/c.arrow", table)
    store.pipe("/bucket/README.md", b"Hello")
    store.pipe("/bucket/deep/d.jsonl", json.dumps(GOOD).encode())
    yield store
    store.rm("/bucket", recursive=True)


def test_a_folder_a_glob_and_an_object(bucket):
    urls = ["memory:///bucket/a.json", "memory:///bucket/b.jsonl.gz", "memory:///bucket/c.arrow"]
    assert [uri for uri, _ in find_places("memory://bucket")] == urls
    assert [uri for uri, _ in find_places("memory://bucket/*.json*")] == urls[:2]
    assert [uri for uri, _ in find_places("memory://bucket/**/d.jsonl")] == ["memory:///bucket/deep/d.jsonl"]
    assert find_places("memory://bucket/a.json") == [("memory://bucket/a.json", "memory://bucket/a.json")]
    assert find_places("memory://bucket/later-*.jsonl") == []


def test_objects_are_read_like_files(bucket):
    rows = {
        uri: pl.concat(read_chunks(place, uri, "s", "b1"))["code"].to_list()
        for uri, place in find_places("memory://bucket")
    }
    assert list(rows.values()) == [[None, None], [None, "not_json"], [None]]


def test_a_changed_object_has_another_mark(bucket):
    url = "memory:///bucket/a.json"
    before, seen = pinned(url, url), look(url)
    assert isinstance(before, RemoteFile)
    assert before.size == len(json.dumps([GOOD, GOOD]))
    assert pinned(url, url) == before
    time.sleep(0.001)
    bucket.pipe("/bucket/a.json", json.dumps([GOOD, {}]).encode())
    assert pinned(url, url) != before
    assert look(url) != seen
    bucket.rm("/bucket/a.json")
    assert look(url) is None
    with pytest.raises(LocationError, match=url):
        pinned(url, url)


def test_what_is_not_there_is_named(bucket):
    with pytest.raises(LocationError, match="memory://bucket/nowhere"):
        find_places("memory://bucket/nowhere")
    with pytest.raises(LocationError, match=r"memory://bucket/README\.md.*\.parquet"):
        find_places("memory://bucket/README.md")
    with pytest.raises(LocationError, match="nosuchstore://bucket"):
        find_places("nosuchstore://bucket")


def test_a_damaged_object_is_named(bucket):
    bucket.pipe("/bucket/b.jsonl.gz", gzip.compress(b"{}" * 100)[:-5])
    url = "memory:///bucket/b.jsonl.gz"
    with pytest.raises(UnreadableError, match=url):
        list(read_chunks(url, url, "s", "b1"))


def test_files_on_this_machine(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("{}")
    assert find_places(str(tmp_path)) == [(f"{tmp_path}/a.jsonl", path)]
    file = pinned("a.jsonl", path)
    assert isinstance(file, SourceFile)
    assert file.size == 2
    assert look(path) == f"2-{path.stat().st_mtime_ns}"
    assert look(tmp_path / "gone.jsonl") is None
    assert place_of(str(path)) == path
    assert place_of("s3://bucket/a.jsonl") == "s3://bucket/a.jsonl"
