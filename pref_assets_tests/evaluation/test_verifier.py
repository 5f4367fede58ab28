"""Constraint satisfaction before and after, counted by hand from answers put into the store."""

import polars as pl
import pytest

from pref_assets.evaluation import Verifier
from pref_assets.evaluation.base import CheckpointRef, Inputs
from pref_assets.evaluation.heldout import NothingHeldOutError
from pref_assets.evaluation.verifier import GENERATIONS, base_model, generations_key, verdicts
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.generation import Sampling

# q1: at most 3 words. q2: at most 2 words, and blue. q3: red.
BEFORE = {"q1": "far too many words here", "q2": "blue", "q3": "tan"}
AFTER = {"q1": "three words only", "q2": "sky", "q3": "Red."}


@pytest.fixture
def checkpoint(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    return CheckpointRef("dpo", "v1", "policy", tmp_path, "smol", {"model": str(base), "max_length": 64})


def stored(home, key, answers):
    rows = [{"id": i, "model": "m", "prompt": "?", "text": text} for i, text in answers.items()]
    Store(home.store).append(GENERATIONS, key, pl.DataFrame(rows))


@pytest.fixture
def rows(inputs, checkpoint, tmp_path):
    home, config = Home(tmp_path / "home"), Verifier()
    stored(home, generations_key(base_model(checkpoint), config.sampling), BEFORE)
    stored(home, generations_key("v1", config.sampling), AFTER)
    asked = Inputs(inputs.pairs, inputs.prompts, inputs.completions, checkpoints=[checkpoint])
    return config.rows(asked, home)


def value(rows, name, metric, subset="all"):
    return rows.filter(checkpoint=name, metric=metric, subset=subset).row(0, named=True)


def test_before_after_and_gain(rows):
    before, after = value(rows, "untrained smol", "constraints_met"), value(rows, "dpo", "constraints_met")
    assert (before["value"], before["n"], before["baseline"]) == (0.5, 4, True)  # q2's two of four
    assert (after["value"], after["n"], after["baseline"]) == (0.75, 4, False)  # all but blue
    assert value(rows, "untrained smol", "prompts_met")["value"] == pytest.approx(1 / 3)
    assert value(rows, "dpo", "prompts_met")["value"] == pytest.approx(2 / 3)
    gain = value(rows, "dpo", "constraints_gain")
    assert gain["value"] == 0.25  # +1 (q1), 0 and -1 (q2), +1 (q3), over four
    assert gain["lo"] <= 0.25 <= gain["hi"]
    assert value(rows, "dpo", "prompts_gain")["value"] == pytest.approx(1 / 3)


def test_slices_by_family(rows):
    assert value(rows, "dpo", "constraints_met", "family:max_words")["value"] == 1.0
    assert value(rows, "dpo", "constraints_met", "family:include")["value"] == 0.5


def test_recorded_completions_are_baselines(rows):
    # Longest: a2 "one two th" (met), b3 "no color yet" (0 of 2), c1 "red" before c2 by id: last is c2 "tan" (0).
    assert value(rows, "longer wins", "constraints_met")["value"] == 0.25
    # Shortest: a1 (met), b1 "blue" (2 of 2), c1 "red" (met).
    assert value(rows, "shorter wins", "constraints_met")["value"] == 1.0
    # Random: q1 1; q2 words (1, 1, 0), blue (1, 1, 0); q3 (1, 0).
    assert value(rows, "random choice", "constraints_met")["value"] == pytest.approx((1 + 2 / 3 + 2 / 3 + 0.5) / 4)
    assert rows.filter(checkpoint="random choice", metric="prompts_met").is_empty()


def test_empty_answers_meet_nothing(inputs):
    prompts = inputs.prompts.filter(prompt_id="q1")
    met = verdicts(prompts, pl.DataFrame({"prompt_id": ["q1", "q1"], "text": ["", "ok"]}))
    assert met["met"].to_list() == [0.5]


def test_batch_size_changes_no_answer_so_no_key():
    assert generations_key("v", Sampling(batch_size=1)) == generations_key("v", Sampling(batch_size=9))
    assert generations_key("v", Sampling(seed=1)) != generations_key("v", Sampling(seed=2))
    assert generations_key("v", Sampling()) != generations_key("w", Sampling())


def test_prompts_without_constraints_cannot_be_verified(inputs):
    bare = Inputs(inputs.pairs, inputs.prompts.with_columns(metadata=pl.lit("{}")), inputs.completions)
    with pytest.raises(NothingHeldOutError, match="3 prompts are in the split 'test', and none names constraints"):
        Verifier().tables(bare)


def test_the_sample_is_of_test_prompts(inputs):
    assert Verifier().tables(inputs)["prompts"]["id"].to_list() == ["q1", "q2", "q3"]
    assert Verifier(prompts=2).tables(inputs)["prompts"].height == 2
