"""What answers earn: constraints, and a judge's ratings as they lie in the store."""

from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.features.store import Store
from pref_assets.pairs.schema import MESSAGES
from pref_assets.scoring.judging.answers import ANSWERS, answer_rows
from pref_assets.scoring.judging.client import Answer
from pref_assets.scoring.judging.endpoint import Endpoint, answers_key
from pref_assets.scoring.reward.rollouts import ConstraintRewards
from pref_assets.training.online.rewards import REWARDS, CheckpointRewards, JudgeRewards, constraint_rewards, rating

JUDGE = JudgeRewards(endpoint=Endpoint(url="http://localhost:1/v1", model="judge"))


def items(n: int) -> pl.DataFrame:
    rows = [
        {
            "id": f"c{i}",
            "prompt": [{"role": "user", "content": "Why?"}],
            "messages": [{"role": "assistant", "content": f"because {i}"}],
        }
        for i in range(n)
    ]
    return pl.DataFrame(rows, schema={"id": pl.String, "prompt": MESSAGES, "messages": MESSAGES})


@pytest.mark.parametrize(
    ("said", "expected"), [("Good.\n[[7]]", 7.0), ("[[3]] no, [[ 8.5 ]]", 8.5), ("eight", None), ("[[A]]", None)]
)
def test_ratings_are_read(said: str, expected: float | None) -> None:
    assert rating(said) == expected


def test_a_judge_is_asked_about_each_answer_once_and_its_words_are_kept(tmp_path: Path) -> None:
    store, asked = Store(tmp_path), JUDGE.asked(items(3))
    assert JUDGE.missing(items(3), store, None) == ["c0", "c1", "c2"]
    question = asked["messages"][1][-1]["content"]
    assert "Why?" in question
    assert "because 1" in question
    said = {id_: Answer(text, "stop", 1, 1) for id_, text in zip(asked["question"][:2], ("[[9]]", "hm"), strict=True)}
    store.append(ANSWERS, answers_key(JUDGE.endpoint, JUDGE.asking), answer_rows(said))
    assert JUDGE.missing(items(3), store, None) == ["c2"]
    assert JUDGE.of(items(2), store, None) == [9.0, None]


def test_rewards_of_a_checkpoint_are_kept_by_its_version(tmp_path: Path) -> None:
    store, settings = Store(tmp_path), CheckpointRewards(checkpoint="rm")
    store.append(REWARDS, "v1", pl.DataFrame({"id": ["c1", "c0"], "reward": [1.5, -1.0]}))
    assert settings.of(items(2), store, "v1") == [-1.0, 1.5]
    assert settings.missing(items(3), store, "v1") == ["c2"]
    assert settings.missing(items(1), store, "v2") == ["c0"]


def test_constraints_are_checked_against_the_prompts_own() -> None:
    stated = '{"constraints": [{"family": "max_words", "n": 2}, {"family": "digits"}]}'
    frame = items(2).with_columns(metadata=pl.lit(stated))
    assert constraint_rewards(ConstraintRewards(count="share"), frame) == [1.0, 1.0]
    assert constraint_rewards(ConstraintRewards(), frame.head(1)) == [1.0]
    long = items(1).with_columns(
        messages=pl.lit(pl.Series([[{"role": "assistant", "content": "one two three"}]], dtype=MESSAGES)).first(),
        metadata=pl.lit(stated),
    )
    assert constraint_rewards(ConstraintRewards(count="share"), long) == [0.0]


def test_a_template_without_a_place_for_the_answer_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"no place for \{answer\}"):
        JudgeRewards(endpoint=JUDGE.endpoint, template="{prompt}?")
