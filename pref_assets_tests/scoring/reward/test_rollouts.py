"""Rollouts: rewards checked by hand, statistics by formula, answers that depend on nothing else."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.pairs.messages import shown_images
from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.scoring.reward import RolloutReward
from pref_assets.scoring.reward.classifiers import load_classifier
from pref_assets.scoring.reward.groups import advantages, group_std
from pref_assets.scoring.reward.rollouts import ConstraintRewards, group_stats
from pref_assets_tests.scoring.reward.conftest import (
    PLAIN,
    conversation_pool,
    details,
    difference_alone,
    save_classifier,
    scored,
)
from pref_assets_tests.training.conftest import message

WORDS = json.dumps({"constraints": [{"family": "max_words", "n": 3}, {"family": "include", "word": "blue"}]})
# Cool, because a random model at 1 is flat over its vocabulary, where float rounding alone moves a draw.
SAMPLING = {"max_new_tokens": 6, "temperature": 0.2}


def rows_of(answers, rewards=None):
    """Measured rows of prompts q0, q1, …"""
    return pl.DataFrame(
        {"id": [f"q{i}" for i in range(len(answers))], "answers": answers, "rewards": rewards or [None] * len(answers)},
        schema={"id": pl.String, "answers": pl.List(pl.String), "rewards": pl.List(pl.Float64)},
    )


def test_constraints_by_hand():
    answers = ["blue sky", "a very long blue sentence", "red", ""]
    assert ConstraintRewards().of(WORDS, answers) == [1.0, 0.0, 0.0, 0.0]
    assert ConstraintRewards(count="share").of(WORDS, answers) == [1.0, 0.5, 0.5, 0.0]
    assert ConstraintRewards().of(None, answers) == []


def test_statistics_of_a_pair_are_those_of_its_prompt():
    pool = conversation_pool(metadata=[WORDS, WORDS, None])
    measured = rows_of([["blue", "blue", "red", "blue"], ["red"] * 4])
    found = RolloutReward(model="./m", n_rollouts=4).combine(pool, measured)
    assert found.schema == PAIR_SCORES.schema
    assert found["score"].to_list() == pytest.approx([np.std([1, 1, 0, 1]), 0.0, None])
    assert found["category"].to_list() == [None, None, "no_constraints"]
    assert details(found, "pass_rate") == [0.75, 0.0, None]
    assert [details(found, name)[0] for name in ("n", "mean", "min", "max")] == [4, 0.75, 0, 1]
    share = RolloutReward(model="./m", reward={"type": "constraints", "count": "share"}, passes_at=0.5)
    assert details(share.combine(pool, measured), "pass_rate") == [1.0, 1.0, None]


def test_a_pair_of_two_prompts_has_no_score():
    pool = conversation_pool(metadata=[WORDS] * 3)
    pairs = pool.pairs.with_columns(prompt_id=pl.when(pl.col("pair_id") != "p1").then("prompt_id"))
    pool, scorer = replace(pool, pairs=pairs), RolloutReward(model="./m")
    assert scorer.items(pool)["id"].to_list() == ["q0", "q2"]
    measured = rows_of([["blue"], ["blue"], ["blue"]]).filter(pl.col("id") != "q1")
    found = scorer.combine(pool, measured)
    assert found["category"].to_list() == [None, "two_prompts", None]
    assert found["score"].to_list() == [0.0, None, 0.0]


@given(st.floats(0, 1))
def test_expected_variance_of_right_and_wrong_is_largest_at_a_half(p):
    """Of many answers with pass rate p the variance is p (1 - p)."""
    n = 1000
    right = round(p * n)
    std = group_std([1.0] * right + [0.0] * (n - right))
    assert std**2 == pytest.approx(right / n * (1 - right / n))
    assert std <= 0.5


def test_rounding_is_no_spread():
    noise = [0.3, 0.1 + 0.2, 0.3 - 1e-16]
    assert group_std(noise) == 0.0
    assert advantages(noise).tolist() == [0.0, 0.0, 0.0]
    assert abs(advantages(noise, floor=0.0, eps=0.0)).max() > 0.5
    assert group_std([1e9, 1e9 + 1]) == 0.0
    assert advantages([1.0, 0.0]).tolist() == pytest.approx([1, -1], abs=1e-5)
    assert group_stats([2.0, 4.0], passes_at=3) == (2.0, 3.0, 1.0, 2.0, 4.0, 0.5)


def test_answers_are_drawn_once_and_do_not_depend_on_their_batch(tmp_path, language_model):
    pool = conversation_pool(metadata=[WORDS] * 3)
    scorer = RolloutReward(model=language_model, n_rollouts=3, sampling=SAMPLING, save_every=2)
    found, counted = scored(tmp_path, scorer, pool)
    stored = Store(Home(tmp_path).store).read(scorer.kind, scorer.key(pool))
    assert stored["answers"].list.len().to_list() == [3, 3, 3]
    assert stored["answers"].explode().n_unique() > 3
    assert stored["rewards"].null_count() == 3
    assert (counted["measured"], counted["answers"]) == (3, 9)
    assert found["details"].list.len().to_list() == [6, 6, 6]
    assert difference_alone(tmp_path, scorer, pool) == 0
    # Another way to count the same answers measures nothing.
    share = scorer.model_copy(update={"reward": ConstraintRewards(count="share"), "passes_at": 0.5})
    assert scored(tmp_path, share, pool)[1]["measured"] == 0
    other = RolloutReward(model=language_model, n_rollouts=3, sampling={**SAMPLING, "seed": 1})
    assert other.key(pool) != scorer.key(pool)
    assert scorer.model_copy(update={"n_rollouts": 4}).key(pool) != scorer.key(pool)


def test_a_reward_model_can_reward_the_answers(tmp_path, language_model):
    judge = save_classifier(tmp_path / "judge", labels=("good", "long"), pad=5)
    reward = {"type": "reward_model", "model": judge, "attributes": {"good": 1.0, "long": -0.5}, "max_length": 256}
    pool = conversation_pool()
    scorer = RolloutReward(model=language_model, n_rollouts=3, sampling=SAMPLING, reward=reward, passes_at=0.0)
    found, _ = scored(tmp_path, scorer, pool)
    stored = Store(Home(tmp_path).store).read(scorer.kind, scorer.key(pool))
    model = load_classifier(judge, "float32", 256)
    for i, (asked, _, _) in enumerate(PLAIN):
        read = [model.read(asked, message("assistant", text)) for text in stored["answers"][i]]
        expected = [float(model.outputs([each], 1)[0][0] @ [1.0, -0.5]) for each in read]
        assert stored["rewards"][i].to_list() == pytest.approx(expected, abs=1e-4)
        assert found["score"][i] == pytest.approx(np.std(expected), abs=1e-4)
    assert difference_alone(tmp_path, scorer, pool) < 1e-4


def test_bad_settings_and_pools():
    with pytest.raises(ValidationError, match="all answers to a prompt would be the same"):
        RolloutReward(model="./m", sampling={"temperature": 0})
    with pytest.raises(ValidationError, match="either `model` or `checkpoint`"):
        RolloutReward(model="./m", checkpoint="c")
    with pytest.raises(ValidationError, match="say which revision"):
        RolloutReward(model="./m", reward={"type": "reward_model", "model": "org/name"})
    with pytest.raises(ValueError, match="none of 3 prompts states constraints"):
        RolloutReward(model="./m").items(conversation_pool())
    assert [each.stage for each in RolloutReward(checkpoint="c").references()] == ["checkpoints"]


def test_a_model_that_sees_answers_about_images_and_a_reward_model_of_text_does_not_judge_them(tmp_path):
    picture = tmp_path / "red.png"
    Image.new("RGB", (20, 14), "red").save(picture)
    pool = conversation_pool(metadata=[WORDS] * 3)
    shown = pl.when(pl.col("prompt_id") == "q0").then(pl.lit([str(picture)])).otherwise("images")
    pool = replace(pool, prompts=pool.prompts.with_columns(images=shown))
    model = str(tiny_llava(tmp_path / "llava"))
    scorer = RolloutReward(model=model, n_rollouts=2, sampling=SAMPLING)
    assert shown_images(scorer.items(pool)["messages"][0]) == [str(picture)]
    found, counted = scored(tmp_path / "home", scorer, pool)
    assert (counted["answers"], found["score"].null_count()) == (6, 0)
    reward = {"type": "reward_model", "model": str(tmp_path / "judge"), "attributes": {"good": 1.0}}
    judged = RolloutReward(model=model, n_rollouts=2, sampling=SAMPLING, reward=reward)
    assert judged.items(pool)["id"].to_list() == ["q1", "q2"]
    rows = rows_of([["a", "b"]] * 3, [[0.0, 1.0]] * 3).tail(2)
    assert judged.combine(pool, rows)["category"].to_list() == ["images", None, None]
