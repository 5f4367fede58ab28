"""Win rates by hand, length control on planted preferences, both judges."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pref_assets.evaluation import EvaluationConfig
from pref_assets.evaluation.answers import base, policy, stored_answers
from pref_assets.evaluation.judges import AskedJudge, RewardJudge, duels, points
from pref_assets.evaluation.judging import ask_about
from pref_assets.evaluation.length_control import length_controlled
from pref_assets.evaluation.seen import CannotSeeError
from pref_assets.evaluation.win_rate import WinRate
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.pairs.messages import shown, shown_images
from pref_assets.settings import Reference
from pref_assets_tests.evaluation.conftest import Quiet
from pref_assets_tests.evaluation.fake_policies import answered, checkpoint, inputs, prompts, rewarded, value
from pref_assets_tests.scoring.judging.server import serving

SAMPLING = Sampling(temperature=1.0)
OURS = {"a": ["good long answer"], "b": ["bad"], "c": ["same"]}
THEIRS = {"a": ["bad"], "b": ["good"], "c": ["same"]}


def config(**changed):
    return WinRate(**{"judge": RewardJudge(checkpoint="rm"), "sampling": SAMPLING, "resamples": 200, **changed})


@pytest.fixture
def fought(tmp_path):
    home = Home(tmp_path)
    dpo, rm = checkpoint("dpo", home), checkpoint("rm", home, "reward_model")
    answered(home, dpo, SAMPLING, OURS)
    answered(home, dpo, SAMPLING, THEIRS, base=True)
    for answers in (OURS, THEIRS):
        rewarded(home, rm, answers, lambda text: "good" in text)
    return inputs(prompts("a", "b", "c"), dpo, rm=rm), home


def test_a_win_a_loss_and_a_tie(fought):
    rows = config().rows(*fought)
    assert value(rows, "dpo", "win_rate")["value"] == 0.5
    assert value(rows, "dpo", "win_rate")["n"] == 3
    assert value(rows, "dpo", "judged")["value"] == 1.0
    assert value(rows, "dpo", "length_difference")["value"] == pytest.approx((16 - 3 + 3 - 4 + 0) / 3)
    assert value(rows, "dpo", "win_rate")["version"] == "v_dpo"


def test_small_differences_of_reward_are_ties(fought):
    asked, home = fought
    rows = config(judge=RewardJudge(checkpoint="rm", tie=1.0)).rows(asked, home)
    assert value(rows, "dpo", "win_rate")["value"] == 0.5
    assert value(rows, "dpo", "win_rate_length_controlled")["value"] == pytest.approx(0.5)


def test_against_another_policy_and_round_robin(fought, tmp_path):
    asked, home = fought
    dpo, rm = asked.checkpoints[0], asked.others["rm"]
    other = checkpoint("other", home)
    texts = {"a": ["good"], "b": ["good"], "c": ["good"]}
    answered(home, other, SAMPLING, texts)
    rewarded(home, rm, texts, lambda text: "good" in text)
    both = inputs(asked.prompts, dpo, other, rm=rm, other=other)
    rows = config(against="other", round_robin=True).rows(both, home)
    # dpo ties on a, loses b and c.
    assert value(rows, "dpo", "win_rate")["value"] == pytest.approx(0.5 / 3)
    assert rows.filter(checkpoint="other", metric="win_rate").is_empty()
    ratings = {name: value(rows, name, "rating")["value"] for name in ("dpo", "other", "untrained smol")}
    assert ratings["other"] > 1000 > ratings["dpo"] == pytest.approx(ratings["untrained smol"])
    assert sum(ratings.values()) == pytest.approx(3000)
    assert value(rows, "untrained smol", "rating")["baseline"]


def test_the_judge_must_be_a_reward_model_and_the_opponent_a_policy(fought):
    asked, home = fought
    dpo, rm = asked.checkpoints[0], asked.others["rm"]
    with pytest.raises(ValueError, match="'rm' is a policy, not a reward_model"):
        config().rows(inputs(asked.prompts, dpo, rm=dpo), home)
    with pytest.raises(ValueError, match="'rm', a reward_model, not a policy"):
        config(against="rm").rows(inputs(asked.prompts, dpo, rm=rm), home)
    with pytest.raises(ValidationError, match="the only policy"):
        config(against="dpo", checkpoints=["dpo"])


def test_what_it_reads_is_named():
    found = TypeAdapter(EvaluationConfig).validate_python(
        {"type": "win_rate", "judge": {"type": "reward_model", "checkpoint": "rm"}, "against": "sft"}
    )
    assert found.references() == [
        Reference(("judge", "checkpoint"), "checkpoints", "rm"),
        Reference(("against",), "checkpoints", "sft"),
    ]


def test_an_asked_judge_sees_both_orders(fought):
    asked, home = fought
    store = Store(home.store)
    with serving(lambda question, _: "[[A]]" if question.index("good") < question.index("bad") else "[[B]]") as server:
        judge = AskedJudge(endpoint={"url": server.url, "model": "judge"})
        two = inputs(prompts("a", "b"), *asked.checkpoints)
        dpo = asked.checkpoints[0]
        sides = [stored_answers(home, who, ["a", "b"], [SAMPLING]) for who in (policy(dpo), base(dpo))]
        found = duels(two.prompts, *sides)
        assert ask_about(judge, found, store, Quiet()) == 4
        assert ask_about(judge, found, store, Quiet()) == 0
    assert points(judge, found, {}, home).to_list() == [1.0, 0.0]
    rows = config(judge=judge).rows(two, home)
    assert value(rows, "dpo", "win_rate")["value"] == 0.5
    # A judge that always says A contradicts itself: half a win each; one that says nothing decides nothing.
    for says, share in (("[[A]]", [0.5, 0.5]), ("hm", [None, None])):
        with serving(lambda question, _, says=says: says) as server:
            judge = AskedJudge(endpoint={"url": server.url, "model": says})
            ask_about(judge, found, store, Quiet())
        assert points(judge, found, {}, home).to_list() == share
    silent = config(judge=judge).rows(two, home)
    assert value(silent, "dpo", "judged")["value"] == 0.0
    assert silent.filter(metric="win_rate").is_empty()


def simulated(theta, phi, n=4000, seed=0, ours_longer=1.0):
    generator = np.random.default_rng(seed)
    lengths = generator.normal(ours_longer, 1.0, n)
    p = 1 / (1 + np.exp(-(theta + phi * np.tanh(lengths / lengths.std()))))
    return (generator.random(n) < p).astype(float), lengths


def test_length_control_undoes_a_preference_for_length():
    won, lengths = simulated(0.0, 2.0)
    assert won.mean() > 0.7
    found = length_controlled(won, lengths, np.arange(len(won)), 1.0, 0, 200).estimate()
    assert found.lo < 0.5 < found.hi
    assert found.hi - found.lo < 0.1
    won, lengths = simulated(1.0, 0.0)
    assert length_controlled(won, lengths, np.arange(4000), 1.0, 0, 100).value == pytest.approx(0.731, abs=0.03)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=12), st.integers(0, 99))
def test_swapping_the_models_mirrors_it(won, seed):
    won, lengths = np.array(won), np.random.default_rng(seed).normal(size=len(won))
    groups = np.arange(len(won))
    ours = length_controlled(won, lengths, groups, 1.0, 0, 100).value
    assert length_controlled(1 - won, -lengths, groups, 1.0, 0, 100).value == pytest.approx(1 - ours, abs=1e-6)
    assert length_controlled(np.full(len(won), 0.5), lengths, groups, 1.0, 0, 100).value == pytest.approx(0.5)


def test_greedy_answers_cannot_be_several():
    with pytest.raises(ValidationError, match="temperature above 0"):
        config(samples=2, sampling=Sampling(temperature=0.0))


def test_what_is_shown_is_another_prompt(fought):
    asked, _home = fought
    uris = {"b": ["x.png"], "c": ["y.png", "z.png"]}
    images = pl.Series([uris.get(each, []) for each in asked.prompts["prompt_id"]], dtype=pl.List(pl.String))
    pictured = asked.prompts.with_columns(images=images)
    found = {c: config(images=c).test_prompts(inputs(pictured)) for c in ("own", "shuffled", "none")}
    assert found["own"]["prompt_id"].to_list() == ["a", "b", "c"]
    assert [shown_images(each) for each in found["own"]["messages"]] == [[], ["x.png"], ["y.png", "z.png"]]
    for control, expected in (("shuffled", [[], ["x.png"], ["y.png", "z.png"]]), ("none", [[], [], []])):
        assert sorted(shown_images(each) for each in found[control]["messages"]) == expected
        # The prompt without images stays itself; the others are other prompts under each control.
        assert set(found[control]["prompt_id"]) & {"a", "b", "c"} == {"a"}
    assert not set(found["none"]["prompt_id"]) & set(found["shuffled"]["prompt_id"]) - {"a"}


def test_judges_do_not_see():
    prompts = pl.DataFrame({"prompt_id": ["a"], "messages": [shown([{"role": "user", "content": "Which?"}], ["x"])]})
    with pytest.raises(CannotSeeError, match="the judge reads text alone, and 1 of 1 prompts"):
        duels(prompts, pl.DataFrame(), pl.DataFrame())
