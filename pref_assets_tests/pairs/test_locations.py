import hashlib

import pytest

from pref_assets.models.reference import ModelNotFoundError
from pref_assets.pairs.locations import HubLocation, LocationError, find_files, is_hub, list_files, parse_hub


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
