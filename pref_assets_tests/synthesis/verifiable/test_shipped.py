"""The data set in the package: made by the code beside it, verifiable, and small."""

import gzip
import json
from pathlib import Path

import pytest

import pref_assets
from pref_assets.models.reference import identity
from pref_assets.synthesis.verifiable.__main__ import parser
from pref_assets.synthesis.verifiable.dataset import FILES
from pref_assets.synthesis.verifiable.faults import Faults
from pref_assets.synthesis.verifiable.prompts import write_prompts
from pref_assets.synthesis.verifiable.sampling import Answering
from pref_assets.synthesis.verifiable.verifier import verify

FOLDER = Path(pref_assets.__file__).parent / "data" / "verifiable"


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    found = []
    for name in FILES[:2]:
        found += map(json.loads, gzip.decompress((FOLDER / name).read_bytes()).decode().splitlines())
    return found


@pytest.fixture(scope="module")
def recipe() -> dict:
    return json.loads((FOLDER / "recipe.json").read_text())


def test_it_is_large_enough_to_learn_from_and_small_enough_to_ship(recipe):
    assert recipe["prompts"] >= 600
    assert recipe["answering"]["completions"] == 4
    assert recipe["measured"]["prompts_with_different_verdicts"] >= 0.5
    assert len(recipe["measured"]["answers_by_family"]) >= 10
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= 2_000_000


def test_the_defaults_of_the_command_are_its_recipe(recipe):
    assert parser().parse_args(["--out", "x"]).prompts == recipe["prompts"]
    assert Answering().model_dump(mode="json") == recipe["answering"]
    assert Faults().model_dump(mode="json") == recipe["faults"]
    assert identity(Answering().model) == recipe["model"]


def test_the_prompts_are_those_the_writer_writes(rows, recipe):
    written = {tuple(turn["content"] for turn in prompt.messages) for prompt in write_prompts(recipe["prompts"])}
    shipped = {tuple(turn["content"] for turn in row["prompt"]) for row in rows if row["metadata"]["shape"] != "long"}
    near = [texts for texts in shipped if texts not in written]
    assert 0 < len(near) <= 0.04 * recipe["prompts"]


def test_every_shipped_verdict_is_the_verifier_s(rows):
    checked = 0
    for row in rows:
        constraints = {c["family"]: c for c in row["metadata"]["constraints"]}
        for completion in row["completions"]:
            for rating in completion["ratings"]:
                if rating["annotator"] == "verifier":
                    assert verify(constraints[rating["dimension"]], completion["content"]) == bool(rating["value"])
                    checked += 1
    assert checked > 2000
