"""Rewards after critiques, of a text model: what is stored, what a kill leaves, what batches change."""

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.pairs.schema import CRITIQUES
from pref_assets.pool import Pool
from pref_assets.resources.mlflow_run import signature
from pref_assets.scoring.measure import measure
from pref_assets.scoring.reward import CritiqueReward
from pref_assets.training import serving, worker
from pref_assets.training.critique_backbone import judge_turn
from pref_assets.training.critique_reward import load_critique_model
from pref_assets_tests.scoring.reward.conftest import conversation_pool, difference_alone, job_of, scored
from pref_assets_tests.training.conftest import Recorder, make_rows
from pref_assets_tests.training.test_critique_reward import criticised, make_job

SAMPLED = {"max_new_tokens": 5}


@pytest.fixture(scope="module")
def critic(tmp_path_factory, language_model) -> str:
    """A model that learned on pairs of a made-up pipeline; the pool's pair p0 is not among them."""
    home = tmp_path_factory.mktemp("home")
    rows = criticised(make_rows(3).with_columns(pair_id=pl.concat_str(pl.lit("p"), pl.int_range(1, 4).cast(pl.String))))
    return str(worker.run(make_job(home, language_model, rows), Recorder())["folder"])


@pytest.fixture
def pool(critic) -> Pool:
    found = conversation_pool()
    said = [(each, f"About {each}: fine." if each != "r1" else None) for each in found.completions["completion_id"]]
    critiques = CRITIQUES.frame(
        [{"completion_id": id_, "critique": text, "writer": "human", "category": "said"} for id_, text in said]
    )
    return replace(found, checkpoints={"critic": critic}, critiques={"own": critiques})


def scorer(**settings: Any) -> CritiqueReward:
    return CritiqueReward.model_validate({"checkpoint": "critic", "sampling": SAMPLED, **settings})


def test_the_reward_is_that_of_the_models_own_critique(pool, critic, tmp_path):
    table, counted = scored(tmp_path, scorer(), pool)
    model = load_critique_model(critic)
    prompt, answer = pool.prompts["messages"][0], pool.completions.filter(completion_id="c0")["messages"][0]
    sampling = scorer().sampling
    assert sampling.temperature == 0
    [(text, _)] = model.criticise([judge_turn(model.instruction, prompt, answer)], sampling)
    reward = float(model.score([model.read(prompt, answer, text)])[0])
    assert table["score_chosen"][0] == pytest.approx(reward, abs=1e-5)
    assert table["category"].to_list() == ["truncated", "trained_on", "trained_on"]
    assert counted["measured"] == 6
    said = scorer().said(pool, Store(Home(tmp_path).store))
    assert said.filter(completion_id="c0")["critiques"].to_list() == [[text]]
    assert said.filter(completion_id="c0")["rewards"].to_list() == [[pytest.approx(reward, abs=1e-5)]]


def test_mlflow_serves_the_same_reward(pool, critic, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "CRITIQUE_TOKENS", 5)
    table, _ = scored(tmp_path, scorer(), pool.only(["p0"]))
    rows = {"prompt": ["Count to three."] * 2, "completion": ["one two three", "no"]}
    assert serving._load_pyfunc(critic).predict(rows) == pytest.approx(
        [table["score_chosen"][0], table["score_rejected"][0]], abs=1e-4
    )
    assert signature("critique_reward_model").inputs.input_names() == ["prompt", "completion"]


def test_several_critiques_are_drawn_and_averaged(pool, tmp_path):
    several = scorer(samples=3, sampling={**SAMPLED, "temperature": 1.0})
    table, _ = scored(tmp_path, several, pool)
    said = several.said(pool, Store(Home(tmp_path).store))
    assert said["reward"].to_list() == pytest.approx(said["rewards"].list.mean().to_list())
    assert (said["critiques"].list.n_unique() > 1).all()
    # All critiques of an answer are read: prompts of 30 tokens and more, three times.
    assert (said["n_tokens"] > 90).all()
    assert table["score"].null_count() == 0


def test_given_critiques_are_read_and_lacking_ones_give_no_score(pool, critic, tmp_path):
    given = scorer(mode="given", critiques="own")
    table, counted = scored(tmp_path, given, pool)
    assert counted["measured"] == 5
    assert table["category"].to_list() == ["whole", "no_critique", "trained_on"]
    assert table["score"].is_null().to_list() == [False, True, False]
    model = load_critique_model(critic)
    prompt, answer = pool.prompts["messages"][0], pool.completions.filter(completion_id="r0")["messages"][0]
    expected = float(model.score([model.read(prompt, answer, "About r0: fine.")])[0])
    assert table["score_rejected"][0] == pytest.approx(expected, abs=1e-5)
    # Another critique is measured, and it alone.
    own = pool.critiques["own"]
    changed = own.with_columns(critique=pl.when(completion_id="c0").then(pl.lit("Bad.")).otherwise("critique"))
    _, again = scored(tmp_path, given, replace(pool, critiques={"own": changed}))
    assert again["measured"] == 1


@pytest.mark.parametrize(
    "settings", [{}, {"mode": "given", "critiques": "own"}, {"mode": "none"}, {"mode": "none", "images": "none"}]
)
def test_numbers_do_not_depend_on_the_batch(settings, pool, tmp_path):
    found = scorer(**settings)
    scored(tmp_path, found, pool)
    assert difference_alone(tmp_path, found, pool) < 1e-4
    assert found.draws == (settings == {})


def test_a_killed_run_loses_no_row_that_it_saved_and_skips_none(pool, tmp_path):
    """The released evaluation forgets every pair of a prompt that it has seen; here answers of one prompt are apart."""

    class Killed(BaseException):
        pass

    class Killer(Recorder):
        def progress(self, done, total, unit):
            if done == 4:
                raise Killed

    found = scorer(mode="none", save_every=2)
    with pytest.raises(Killed):
        measure(job_of(tmp_path, found, pool), Killer())
    assert len(found.said(pool, Store(Home(tmp_path).store))) == 4
    table, counted = scored(tmp_path, found, pool)
    assert (counted["measured"], counted["reused"]) == (2, 4)
    assert table["score"].null_count() == 0


def test_a_key_is_the_checkpoint_and_how_critiques_are_written(pool):
    assert scorer().key(pool) == scorer(batch_tokens=1, save_every=3).key(pool)
    keys = [scorer(**each).key(pool) for each in ({}, {"mode": "none"}, {"sampling": {"max_new_tokens": 6}})]
    assert len(set(keys)) == 3
    assert scorer().items(pool)["id"].to_list() == sorted(pool.completions["completion_id"])


def test_settings_that_contradict_each_other():
    for settings, words in (
        ({"mode": "given"}, "`critiques` is what"),
        ({"critiques": "own"}, "`critiques` is what"),
        ({"mode": "none", "samples": 2}, "`samples` counts"),
        ({"samples": 2}, "temperature is 0"),
    ):
        with pytest.raises(ValidationError, match=words):
            scorer(**settings)
