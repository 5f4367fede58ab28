"""Registered batches: pinned by content, found again, refused when the file is another one."""

from pathlib import Path

import pytest

from pref_assets.home import Home
from pref_assets.pairs.locations import source_file
from pref_assets.pipeline.batches import BatchError, find, forget, register_file, register_hub, registered, verify


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
