"""Broken files of every kind: each fault is named with file, row and reason, and nothing else is lost."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pref_assets.pairs.locations import LocationError
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.places import find_places, pinned
from pref_assets.pairs.readers import TrlSource
from pref_assets.pairs.readers.base import Records
from pref_assets.pairs.reading import UnreadableError, read_chunks
from pref_assets.pairs.schema import QUARANTINE, RAW
from pref_assets.synthesis.broken import CASES, FILES, MANIFEST, Case, write_cases

URI = "data"
MAX_PAYLOAD = 120_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    write_cases(folder)
    return folder


def read(case: Case, folder: Path, rows: int) -> Records:
    path = folder / FILES / case.file
    settings = dict(case.settings)
    if "image_folder" in settings:
        settings["image_folder"] = str(folder / FILES / settings["image_folder"])
    source = TrlSource(location=str(path), **settings)
    pinned(f"{URI}/{case.file}", path)
    chunks = read_chunks(path, f"{URI}/{case.file}", "mine", "b1", rows=rows, limits=source.limits)
    raw = pl.concat([RAW.empty(), *chunks])
    assert raw.select(RAW.key).is_duplicated().sum() == 0
    return source.read(raw, MediaStore(folder / "media"))


def uri(case: Case, member: str) -> str:
    return f"{URI}/{case.file}/{member}" if member else f"{URI}/{case.file}"


@pytest.mark.parametrize("rows", [1, 10_000])
@pytest.mark.parametrize("case", [case for case in CASES if case.error is None], ids=lambda case: case.kind)
def test_broken_rows_are_named_and_the_others_read(case: Case, folder: Path, rows: int) -> None:
    records = read(case, folder, rows)
    assert sorted(records.prompts.select("uri", "row").rows()) == sorted(
        (uri(case, g.member), g.row) for g in case.good
    )
    refused = records.quarantine
    assert refused.schema == QUARANTINE.schema
    expected = sorted((uri(case, b.member), b.row, b.code) for b in case.bad)
    assert sorted(refused.select("uri", "row", "code").rows()) == expected
    for where, row, reason in refused.select("uri", "row", "reason").iter_rows():
        assert reason.startswith(f"{where}, row {row}: " if row else f"{where}: ")
        assert len(reason) < 400
    assert all(len(payload.encode()) < MAX_PAYLOAD for payload in refused["payload"])


@pytest.mark.parametrize("case", [case for case in CASES if case.error is not None], ids=lambda case: case.kind)
def test_an_unreadable_file_is_one_error_that_names_it(case: Case, folder: Path) -> None:
    with pytest.raises((UnreadableError, LocationError)) as error:
        read(case, folder, 10_000)
    assert case.file in str(error.value)
    assert str(case.error) in str(error.value)


def test_a_folder_lists_every_one_of_them(folder: Path) -> None:
    found = [Path(where).name for where, _ in find_places(str(folder / FILES))]
    assert found == sorted(case.file for case in CASES)


def test_there_are_many_kinds_each_once() -> None:
    kinds = [case.kind for case in CASES]
    assert len(set(kinds)) == len(kinds) >= 90
    assert all(case.bad or case.error or case.good or case.kind == "empty_file" for case in CASES)


def test_the_command_writes_the_same_files_with_a_manifest(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pref_assets.synthesis.broken", "--out", str(tmp_path / "again")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{len(CASES)} files" in done.stdout
    manifest = json.loads((tmp_path / "again" / MANIFEST).read_text())
    assert manifest == json.loads((folder / MANIFEST).read_text())
    assert manifest[0].keys() == {"kind", "file", "what", "good", "bad", "error", "settings"}
    for case in CASES:
        first, second = folder / FILES / case.file, tmp_path / "again" / FILES / case.file
        assert first.is_file() == second.is_file()
        if first.is_file():
            assert first.read_bytes() == second.read_bytes(), case.kind
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(command, capture_output=True, check=True)
