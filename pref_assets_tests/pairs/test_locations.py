import hashlib
import os
from pathlib import Path

import pytest

from pref_assets.models.reference import ModelNotFoundError
from pref_assets.pairs.locations import (
    HubLocation,
    LocationError,
    find_files,
    is_hub,
    is_remote,
    list_files,
    parse_hub,
    source_file,
)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jsonl", "a.jsonl.gz", "c.parquet", "d.json", "README.md", ".hidden.jsonl", "e.jsonl.tmp"):
        (tmp_path / name).write_text(name)
    for name in ("f.jsonl.part", "g.jsonl~"):
        (tmp_path / name).write_text(name)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "h.jsonl").write_text("h")
    return tmp_path


def test_a_folder_lists_its_data_files_in_order_and_skips_the_rest(folder):
    files = list_files(str(folder))
    assert [file.path.name for file in files] == ["a.jsonl.gz", "b.jsonl", "c.parquet", "d.json"]
    assert files[1].uri == f"{folder}/b.jsonl"
    assert files[1].sha256 == hashlib.sha256(b"b.jsonl").hexdigest()
    assert files[1].size == 7


def test_a_glob_reaches_subfolders(folder):
    assert [path.name for _, path in find_files(f"{folder}/**/*.jsonl")] == ["b.jsonl", "h.jsonl"]


def test_a_glob_that_matches_nothing_yet_is_an_empty_list(folder):
    assert find_files(f"{folder}/later-*.jsonl") == []


def test_relative_locations_keep_relative_uris(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    [(uri, path)] = find_files(f"{folder.name}/b.jsonl")
    assert uri == f"{folder.name}/b.jsonl"
    assert path.is_absolute()


def test_a_name_with_brackets_is_a_name_when_it_exists(tmp_path):
    (tmp_path / "rows[1].jsonl").write_text("{}")
    assert len(find_files(f"{tmp_path}/rows[1].jsonl")) == 1


def test_a_missing_folder_and_an_unreadable_type_are_named(folder):
    with pytest.raises(LocationError, match="nowhere"):
        find_files(str(folder / "nowhere"))
    with pytest.raises(LocationError, match=r"README\.md.*\.parquet"):
        find_files(str(folder / "README.md"))


def test_package_locations_keep_their_uri(tmp_path, monkeypatch):
    data = tmp_path / "made_up_package" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (data / "a.jsonl").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_files("package://made_up_package/data") == [
        ("package://made_up_package/data/a.jsonl", data / "a.jsonl")
    ]


def test_an_absent_package_is_named():
    with pytest.raises(ModelNotFoundError, match="no_such_package"):
        find_files("package://no_such_package/data")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("hf://org/name", HubLocation("org/name")),
        ("hf://org/name/config", HubLocation("org/name", "config")),
        ("hf://org/name/deep/folder", HubLocation("org/name", "deep/folder")),
        ("hf://org/name@main:train", HubLocation("org/name", None, "main", "train")),
        ("hf://org/name/c@abc:train[:1%]", HubLocation("org/name", "c", "abc", "train[:1%]")),
    ],
)
def test_hub_locations(location, expected):
    assert is_hub(location)
    assert parse_hub(location) == expected


def test_a_hub_location_without_organisation_is_refused():
    with pytest.raises(LocationError, match="org/name"):
        parse_hub("hf://name")


def test_every_type_that_can_be_read_is_listed_in_any_case(tmp_path):
    names = ["a.csv", "b.CSV.GZ", "c.arrow", "d.feather", "e.zip", "f.JSONL", "g.json.gz", "h.txt", "i.xlsx"]
    for name in names:
        (tmp_path / name).write_text("")
    assert [path.name for _, path in find_files(str(tmp_path))] == sorted(names[:-2])


def test_links_among_folders_are_followed_once(folder):
    (folder / "deep" / "up").symlink_to("..")
    (folder / "deep" / "self").symlink_to(".")
    (folder / "twin").symlink_to("deep")
    assert [path.name for _, path in find_files(f"{folder}/**/*.jsonl")] == ["b.jsonl", "h.jsonl"]
    assert [uri for uri, _ in find_files(f"{folder}/*/h.jsonl")] == [f"{folder}/deep/h.jsonl"]


def test_patterns_mean_what_they_mean_in_a_shell(tmp_path):
    for name in ("a/b/c.jsonl", "a/x.jsonl", "a/.hidden/y.jsonl", "z.jsonl", "a/b/d1.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")

    def found(pattern):
        return [Path(uri).relative_to(tmp_path).as_posix() for uri, _ in find_files(f"{tmp_path}/{pattern}")]

    assert found("**/*.jsonl") == ["a/b/c.jsonl", "a/b/d1.jsonl", "a/x.jsonl", "z.jsonl"]
    assert found("*/*.jsonl") == ["a/x.jsonl"]
    assert found("a/**/c.jsonl") == ["a/b/c.jsonl"]
    assert found("a/**/x.jsonl") == ["a/x.jsonl"]
    assert found("a/b/d[0-9].json?") == ["a/b/d1.jsonl"]
    assert found("a/.hidden/*.jsonl") == ["a/.hidden/y.jsonl"]


def test_links_that_lead_nowhere_are_listed_and_refused(tmp_path):
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "lost.jsonl").symlink_to("gone.jsonl.old")
    os.mkfifo(tmp_path / "pipe.jsonl")
    errors = {}
    for uri, path in find_files(str(tmp_path)):
        with pytest.raises(LocationError) as error:
            source_file(uri, path)
        errors[path.name] = str(error.value)
    assert "leads back to itself" in errors["loop.jsonl"]
    assert "gone.jsonl.old" in errors["lost.jsonl"]
    assert "no regular file" in errors["pipe.jsonl"]


def test_a_link_to_a_file_is_a_file(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.jsonl").write_text("{}")
    (tmp_path / "b.jsonl").symlink_to("kept/a.jsonl")
    [file] = list_files(str(tmp_path))
    assert (file.path.name, file.size) == ("b.jsonl", 2)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("s3://bucket/a.jsonl", True),
        ("memory://a/*.jsonl", True),
        ("abfs+tls://c/a", True),
        ("hf://org/name", False),
        ("package://module/data", False),
        ("data/a.jsonl", False),
        ("/data/a://b.jsonl", False),
    ],
)
def test_remote_locations(location, expected):
    assert is_remote(location) is expected
    if expected:
        with pytest.raises(LocationError, match="this machine"):
            find_files(location)
