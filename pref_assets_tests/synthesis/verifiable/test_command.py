import gzip
import json

import pytest

from pref_assets.models.tiny import tiny_llama
from pref_assets.synthesis.verifiable.__main__ import main


def test_the_command_makes_a_data_set(tmp_path, capsys):
    model = str(tiny_llama(tmp_path / "tiny"))
    out = tmp_path / "out"
    arguments = ["--out", str(out), "--prompts", "12", "--completions", "2", "--model", model, "--max-new-tokens", "12"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "part_1.jsonl.gz" in said.out
    assert "answering: 100%" in said.err
    with gzip.open(out / "batches" / "part_1.jsonl.gz", "rt") as file:
        row = json.loads(file.readline())
    assert row["completions"][0]["ratings"][-1]["dimension"] == "overall"
    assert not (out / ".answers.jsonl").exists()
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["prompts"] == 12
    assert recipe["answering"]["model"] == model


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--temperature", "-1"], r"temperature: Input should be greater than or equal to 0"),
        (["--completions", "1"], r"completions: Input should be greater than or equal to 2"),
        (["--prompts", "many"], r"invalid int value: 'many'"),
        (["--prompts", "0"], r"prompts: at least 4"),
        (["--flipped", "2"], r"flipped: Input should be less than or equal to 1"),
    ],
)
def test_wrong_options_are_explained(arguments, said, tmp_path, capsys):
    import re

    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path), *arguments])
    assert re.search(said, capsys.readouterr().err)


def test_a_missing_model_is_explained(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--prompts", "4", "--model", str(tmp_path / "none")]) == 1
    assert "none: no such folder" in capsys.readouterr().err


def test_help_says_what_comes_out(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    assert "truth.jsonl.gz" in said
    assert "--prompts 8" in said


@pytest.mark.slow
def test_the_real_model_meets_some_constraints(tmp_path):
    assert main(["--out", str(tmp_path), "--prompts", "8"]) == 0
    measured = json.loads((tmp_path / "recipe.json").read_text())["measured"]
    assert 0.25 <= measured["prompts_with_different_verdicts"] <= 0.95
    assert measured["pairs_with_a_winner"] > 4
