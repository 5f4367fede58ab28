"""Registered batches: pinned by content, found again, refused when the file is another one."""

import os
import time
from pathlib import Path

import fsspec
import pytest

from pref_assets.home import Home
from pref_assets.pairs.locations import SourceFile, source_file
from pref_assets.pairs.places import Place, RemoteFile, find_places, pinned
from pref_assets.pipeline import batches
from pref_assets.pipeline.batches import (
    BatchError,
    find,
    forget,
    register_file,
    register_hub,
    register_places,
    registered,
    verify,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_batch_is_named_by_file_and_content(home: Home, tmp_path: Path) -> None:
    path = written(tmp_path, "part one,2.jsonl.gz", "a")
    file = source_file("data/part one,2.jsonl.gz", path)
    batch = register_file(home, "demo", "mine", file)
    assert batch.key == f"part_one_2-{file.sha256[:8]}"
    assert (batch.uri, batch.sha256, batch.size) == (file.uri, file.sha256, 1)
    assert find(home, "demo", "mine", batch.key) == batch
    assert registered(home, "demo", "mine") == [batch]
    assert registered(home, "demo", "other") == []


def test_content_is_registered_once(home: Home, tmp_path: Path) -> None:
    first = register_file(home, "demo", "mine", source_file("a", written(tmp_path, "a.jsonl", "same")))
    second = register_file(home, "demo", "mine", source_file("b", written(tmp_path, "b.jsonl", "same")))
    assert first == second
    assert len(registered(home, "demo", "mine")) == 1
    other = register_file(home, "demo", "mine", source_file("a", written(tmp_path, "a.jsonl", "other")))
    assert registered(home, "demo", "mine") == [first, other]


def test_a_hub_location_is_one_batch_a_revision(home: Home) -> None:
    first = register_hub(home, "demo", "hub", "hf://org/name@v1")
    assert register_hub(home, "demo", "hub", "hf://org/name@v1") == first
    assert register_hub(home, "demo", "hub", "hf://org/name@v2") != first
    assert first.path is None
    verify(first)


def test_a_changed_or_missing_file_is_refused(home: Home, tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", "then")
    batch = register_file(home, "demo", "mine", source_file("mine/a.jsonl", path))
    verify(batch)
    path.write_text("now")
    with pytest.raises(BatchError, match=r"mine/a.jsonl: the file of batch a-.* changed since it was registered"):
        verify(batch)
    path.unlink()
    with pytest.raises(BatchError, match=r"mine/a.jsonl: the file of batch a-.* is gone; put it back at "):
        verify(batch)


def test_an_unknown_batch_names_the_known_ones(home: Home, tmp_path: Path) -> None:
    batch = register_file(home, "demo", "mine", source_file("a", written(tmp_path, "a.jsonl", "x")))
    with pytest.raises(BatchError, match=f"no batch 'nothing'; registered: {batch.key}"):
        find(home, "demo", "mine", "nothing")
    forget(home, "demo", "mine", batch)
    with pytest.raises(BatchError, match="registered: none"):
        find(home, "demo", "mine", batch.key)


def test_nothing_half_written_is_a_batch(home: Home, tmp_path: Path) -> None:
    batch = register_file(home, "demo", "mine", source_file("a", written(tmp_path, "a.jsonl", "x")))
    (home.batches / "demo" / "mine" / ".half.json.123.tmp").write_text("{")
    assert registered(home, "demo", "mine") == [batch]


def test_an_object_of_a_store_is_pinned_by_what_the_store_says(home: Home) -> None:
    file = RemoteFile("s3://bucket/rows.jsonl", "etag:abc", 7)
    batch = register_file(home, "demo", "far", file)
    assert (batch.path, batch.sha256, batch.etag, batch.size) == (file.uri, None, "etag:abc", 7)
    assert batch.place == file.uri
    assert batch.pin == "object store: etag:abc"
    assert register_file(home, "demo", "far", file) == batch
    changed = register_file(home, "demo", "far", RemoteFile(file.uri, "etag:def", 7))
    assert changed.key != batch.key
    assert registered(home, "demo", "far") == [batch, changed]


def test_a_changed_or_missing_object_is_refused(home: Home) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/verified/a.jsonl", b"then")
    url = "memory:///verified/a.jsonl"
    batch = register_file(home, "demo", "far", pinned(url, url))
    verify(batch)
    time.sleep(0.001)
    store.pipe("/verified/a.jsonl", b"now")
    with pytest.raises(BatchError, match=r"a\.jsonl: the file of batch a-.* changed since it was registered"):
        verify(batch)
    store.rm("/verified/a.jsonl")
    with pytest.raises(BatchError, match=r"a\.jsonl: the file of batch a-.* is gone"):
        verify(batch)


def test_a_hub_batch_is_read_at_its_commit(home: Home) -> None:
    batch = register_hub(home, "demo", "hub", "hf://org/name@main", "hf://org/name@abc")
    assert (batch.uri, batch.place, batch.pin) == ("hf://org/name@main", "hf://org/name@abc", "hub: hf://org/name@abc")
    verify(batch)


def test_known_files_are_not_read_again(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [written(tmp_path, name, text) for name, text in (("a.jsonl", "1"), ("b.jsonl", "2"), ("copy.jsonl", "1"))]
    read = []

    def counted(uri: str, place: Place) -> SourceFile | RemoteFile:
        read.append(uri)
        return pinned(uri, place)

    monkeypatch.setattr(batches, "pinned", counted)

    def register() -> list[str]:
        read.clear()
        assert register_places(home, "demo", "mine", [(file.name, file) for file in files]) == []
        return list(read)

    assert register() == ["a.jsonl", "b.jsonl", "copy.jsonl"]
    assert register() == ["a.jsonl", "b.jsonl", "copy.jsonl"], "changed a moment ago: a look proves nothing"
    for file in files:
        os.utime(file, (1_000, 1_000))
    assert register() == ["a.jsonl", "b.jsonl", "copy.jsonl"]
    assert register() == []
    files[1].write_text("3")
    assert register() == ["b.jsonl"]
    assert [batch.uri for batch in registered(home, "demo", "mine")] == ["a.jsonl", "b.jsonl", "b.jsonl"]
    for batch in registered(home, "demo", "mine"):
        forget(home, "demo", "mine", batch)
    assert register() == ["a.jsonl", "b.jsonl"], "what was taken back is registered again, a copy of it is not"


def test_a_file_that_cannot_be_read_does_not_stop_the_others(home: Home, tmp_path: Path) -> None:
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    written(tmp_path, "rows.jsonl", "{}")
    ((uri, error),) = register_places(home, "demo", "mine", find_places(str(tmp_path)))
    assert uri == f"{tmp_path}/loop.jsonl"
    assert "leads back to itself" in str(error)
    assert [Path(batch.uri).name for batch in registered(home, "demo", "mine")] == ["rows.jsonl"]
