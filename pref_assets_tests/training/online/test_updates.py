"""From rewarded samples to rows: which answers, with which weights (cards 5 and 26)."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.pairs.schema import ONLINE_SAMPLES, PROMPTS
from pref_assets.training.data import TRAINING_ROWS
from pref_assets.training.online.advantages import advantages
from pref_assets.training.online.rows import online_reference, online_rows
from pref_assets.training.online.updates import (
    BestOfN,
    Grpo,
    OnlineDPO,
    Reinforce,
    Rejection,
    Rloo,
    UpdateConfig,
    pair_ids_of,
)


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def samples(groups: dict[str, list[tuple[str, float | None, int]]]) -> pl.DataFrame:
    """Answers (text, reward, count) of each prompt; a text's id is ``<prompt>-<text>``."""
    return ONLINE_SAMPLES.frame(
        {
            "completion_id": f"{prompt}-{text}",
            "prompt_id": prompt,
            "messages": said(text),
            "count": count,
            "reward": reward,
            "finished": True,
            "sampled_tokens": len(text),
            "sampler_logp": -float(len(text)),
            "reference_logp": -2.0 * len(text),
            "n_tokens": len(text) + 1,
            "truncated": False,
            "reference_key": "k",
        }
        for prompt, answers in groups.items()
        for text, reward, count in answers
    )


def prompts(groups: dict[str, list[tuple[str, float | None, int]]]) -> pl.DataFrame:
    return PROMPTS.frame(
        {"prompt_id": each, "messages": [{"role": "user", "content": each}], "split": "train"} for each in groups
    )


def rows(update: UpdateConfig, groups: dict[str, list[tuple[str, float | None, int]]]) -> pl.DataFrame:
    found = online_rows(update, samples(groups), prompts(groups))
    assert found.schema == TRAINING_ROWS
    assert set(found["pair_id"]) == pair_ids_of(update, samples(groups))
    assert found["pair_id"].is_unique().all()
    return found


def texts(found: pl.DataFrame) -> set[tuple[str, str]]:
    both = [found[side].list.first().struct.field("content") for side in ("chosen", "rejected")]
    return set(zip(*both, strict=True))


def answer_weights(found: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """By answer: its share of the mean over rows, and its advantage."""
    totals: dict[str, tuple[float, float]] = {}
    for row in found.to_dicts():
        told = {each["name"]: each["value"] for each in row["columns"]}
        for side in ("chosen", "rejected"):
            share = told[f"share_{side}"] * row["weight"] / len(found)
            if share:
                assert row[f"{side}_id"] not in totals
                totals[row[f"{side}_id"]] = (share, told[f"advantage_{side}"])
    return totals


GROUPS = {
    "p": [("a", 1.0, 1), ("bb", 0.0, 2), ("ccc", 0.5, 1)],
    "q": [("same", 1.0, 4)],
    "r": [("x", 0.3, 2), ("y", 0.3, 2)],
}


def test_best_against_worst() -> None:
    found = rows(OnlineDPO(), GROUPS)
    assert texts(found) == {("a", "bb")}
    assert found["texts"].to_list() == [[{"name": "sampled", "text": "bb"}]]
    assert rows(OnlineDPO(min_gap=1.0), GROUPS).is_empty()


def test_imitation_takes_the_best_or_the_accepted() -> None:
    assert texts(rows(BestOfN(), GROUPS)) == {("a", "bb"), ("x", "y")}
    found = rows(Rejection(min_reward=0.4), GROUPS)
    assert texts(found) == {("a", "bb"), ("ccc", "bb")}
    every = rows(Rejection(min_reward=0.0), {"p": GROUPS["p"]})
    assert dict(zip(every["chosen_id"], every["weight"], strict=True)) == {"p-a": 1.0, "p-bb": 2.0, "p-ccc": 1.0}


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (Reinforce(), {"p-a": 0.625, "p-bb": -0.375, "p-ccc": 0.125}),
        (Rloo(), {"p-a": 1 - 1 / 6, "p-bb": -0.5, "p-ccc": 0.5 - 1 / 3}),
        (Grpo(), {"p-a": 1.50756, "p-bb": -0.90453, "p-ccc": 0.30151}),
    ],
)
def test_every_answer_counts_by_its_advantage_and_how_often_it_was_drawn(update: Grpo, expected: dict) -> None:
    found = answer_weights(rows(update, GROUPS))
    assert {name: advantage for name, (_, advantage) in found.items()} == pytest.approx(expected, abs=1e-5)
    assert {name: share for name, (share, _) in found.items()} == {"p-a": 0.25, "p-bb": 0.5, "p-ccc": 0.25}


def test_groups_whose_rewards_do_not_differ_give_no_rows() -> None:
    alike = {"q": GROUPS["q"], "r": GROUPS["r"]}
    for update in (Reinforce(), Rloo(), Grpo(), OnlineDPO()):
        assert rows(update, alike).is_empty()
    noise = {"r": [("x", 0.3, 1), ("y", 0.3 + 1e-12, 1)]}
    assert rows(Grpo(), noise).is_empty()
    close = {"r": [("x", 0.3, 1), ("y", 0.3001, 1)]}
    assert max(abs(a) for _, a in answer_weights(rows(Grpo(min_std=0.01), close)).values()) < 0.01


def test_an_answer_without_a_reward_is_not_learned_from() -> None:
    groups = {"p": [("a", 1.0, 1), ("b", None, 1), ("c", 0.0, 1)]}
    assert texts(rows(OnlineDPO(), groups)) == {("a", "c")}
    assert set(answer_weights(rows(Grpo(), groups))) == {"p-a", "p-c"}


def test_a_prompt_that_is_gone_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"1 prompts of the samples are not in the prompts table, e\.g\. \['p'\]"):
        online_rows(OnlineDPO(), samples({"p": GROUPS["p"]}), prompts({}))


def test_samples_bring_their_reference() -> None:
    found = online_reference(samples({"p": GROUPS["p"]})).row(0, named=True)
    assert (found["completion_id"], found["logp"], found["n_tokens"], found["key"]) == ("p-a", -2.0, 2, "k")


GROUP = st.lists(st.integers(0, 4).map(lambda n: n / 4), min_size=2, max_size=9)


@settings(max_examples=60, deadline=None)
@given(GROUP)
def test_advantages_sum_to_zero_and_keep_their_order(rewards: list[float]) -> None:
    for baseline in ("mean", "others", "normalised"):
        found = advantages(rewards, baseline, 0.01)
        assert found.sum() == pytest.approx(0, abs=1e-9)
        assert np.all(np.diff(found[np.argsort(rewards, kind="stable")]) >= -1e-12)
        if len(set(rewards)) == 1:
            assert not found.any()
    normalised = advantages(rewards, "normalised", 0.01)
    assert normalised.std() == pytest.approx(float(len(set(rewards)) > 1), abs=1e-9)
    moved = advantages([3 * each - 7 for each in rewards], "normalised", 0.01)
    assert moved == pytest.approx(normalised, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(GROUP, min_size=1, max_size=4))
def test_the_mean_over_rows_is_the_mean_over_answers(groups: list[list[float]]) -> None:
    named = {f"p{i}": [(f"t{j}", reward, 1 + j % 2) for j, reward in enumerate(each)] for i, each in enumerate(groups)}
    found = rows(Rloo(), named)
    kept = {name: each for name, each in named.items() if len({reward for _, reward, _ in each}) > 1}
    total = sum(count for each in kept.values() for _, _, count in each)
    expected = {f"{name}-{text}": count / total for name, each in kept.items() for text, _, count in each}
    shares = {name: share for name, (share, _) in answer_weights(found).items()} if len(found) else {}
    assert shares == pytest.approx(expected)
