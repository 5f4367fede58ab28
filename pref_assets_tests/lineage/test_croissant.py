"""Croissant: the reference implementation finds no error and reads the tables, without a network."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from pref_assets.lineage.about import describe
from pref_assets.lineage.croissant import CONFORMS_TO, croissant, written
from pref_assets.lineage.facts import File, collect
from pref_assets.pairs.curation import PairsBlock
from pref_assets.pairs.readers import CompletionsSource
from pref_assets_tests.lineage import croissant_child
from pref_assets_tests.lineage.conftest import URI

pytestmark = pytest.mark.skipif(find_spec("mlcroissant") is None, reason="mlcroissant, of the dev extra, validates it")

FILE = File("answers", "b1", URI, "ab" * 32, 123, f"sha256 {'ab' * 32}", "2026-01-02T03:04:05.000+00:00")
HUB = File("answers", "hub", "hf://org/name", None, None, "hub: hf://org/name@1", "2026-01-01T00:00:00.000+00:00")
SOURCE = CompletionsSource(location="s3://me:secret@host/d", licence="https://spdx.org/licenses/CC-BY-4.0.html")
ABOUT = describe("p", "What is a colour?", {"answers": SOURCE}, PairsBlock())


@pytest.fixture(scope="module")
def document(small):
    return croissant(collect(small.home, ABOUT, [FILE, HUB]), small.home)


@pytest.fixture(scope="module")
def loaded(document, small):
    file = small.home.root / "croissant.json"
    file.write_text(written(document))
    command = [sys.executable, croissant_child.__file__, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_is_valid_croissant(loaded) -> None:
    assert loaded["conforms_to"] == CONFORMS_TO
    assert loaded["errors"] == []
    assert loaded["record_sets"] == ["prompts", "completions", "pairs"]
    assert loaded["sha256"] == ["ab" * 32]


def test_every_column_is_read_out_of_the_delta_tables(loaded, small) -> None:
    pairs = {row["pairs/pair_id"]: row for row in loaded["pairs"]}
    expected = small.merged.pairs.filter(pair_id=small.blue).row(0, named=True)
    found = pairs[small.blue]
    assert set(pairs) == {small.blue, small.oak}
    assert set(found) == {f"pairs/{name}" for name in expected}
    assert found["pairs/p_chosen"] == expected["p_chosen"]
    assert [vote["pairs/votes/annotator"] for vote in found["pairs/votes"]] == ["ann", "bo"]
    assert [row["pairs/provenance/row"] for row in found["pairs/provenance"]] == [1, 7]
    prompts = [row["prompts/messages"][0]["prompts/messages/content"] for row in loaded["prompts"]]
    assert sorted(prompts) == ["Name a colour.", "Name a fish.", "Name a stone.", "Name a tree."]


def test_older_versions_of_a_table_are_not_part_of_it(document, small) -> None:
    (files,) = [each for each in document["distribution"] if each["@id"] == "pairs-files"]
    assert all((small.home.root / name).is_file() for name in files["includes"])
    assert len(files["includes"]) == 1


def test_it_is_the_same_every_time_and_keeps_no_secret(document, small) -> None:
    again = croissant(collect(small.home, ABOUT, [FILE, HUB]), small.home)
    assert written(again) == written(document)
    assert json.loads(written(document)) == document
    assert document["isBasedOn"] == ["s3://***@host/d"]
    assert document["datePublished"] == "2026-01-02"
    assert document["license"] == ["https://spdx.org/licenses/CC-BY-4.0.html"]
