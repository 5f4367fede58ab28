"""Value drift: the planted curve of the card, series by hand, the data's value gap, both judges."""

from math import log

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pref_assets.evaluation.draws import drawn
from pref_assets.evaluation.judging import ask_missing
from pref_assets.evaluation.stances import AskedStance, LexiconJudge, Topic, drift, drift_time
from pref_assets.evaluation.value_drift import ValueDrift, value_gap
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.pairs.schema import prompt_id
from pref_assets.scoring.judging.answers import questions
from pref_assets_tests.evaluation.conftest import Quiet
from pref_assets_tests.evaluation.fake_policies import answered, checkpoint, inputs, prompts, value
from pref_assets_tests.scoring.judging.server import serving

SAMPLING = Sampling(temperature=0.7)
TOPIC = Topic(prompts=["Cats?", "Dogs?"], support=["yes"], oppose=[r"\bno\b"], about="question q[12]")
IDS = [prompt_id([{"role": "user", "content": text}]) for text in TOPIC.prompts]


def config(**changed):
    return ValueDrift(**{"topics": {"pets": TOPIC}, "samples": 2, "sampling": SAMPLING, "resamples": 100, **changed})


def test_the_planted_curve():
    steps = np.linspace(0, 1, 51)
    shares = 0.2 + 0.4 * (1 - np.exp(-steps / 0.1))
    assert drift(shares) == pytest.approx(0.4, abs=1e-3)
    assert drift_time(shares) == pytest.approx(0.30)
    assert -0.1 * log(0.05) == pytest.approx(0.2996, abs=1e-4)  # where the curve itself gets there


@given(st.floats(0, 1), st.integers(2, 20))
def test_a_constant_series_has_no_time(share, steps):
    assert drift(np.full(steps, share)) == 0.0
    assert drift_time(np.full(steps, share)) is None


def test_the_interval_covers_the_drift():
    """Prompts of two answers before and after; the truth is .3."""
    covered = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        before, after = generator.random((40, 2)) < 0.3, generator.random((40, 2)) < 0.6
        change = after.mean(axis=1) - before.mean(axis=1)
        found = drawn(lambda picked, change=change: float(change[picked].mean()), 40, seed, 200).estimate()
        covered += found.lo <= 0.3 <= found.hi
    assert 0.90 <= covered / 200 <= 0.99


@pytest.fixture
def series(tmp_path):
    """Start: no stance; step one: half say yes; step two: all but one of four."""
    home = Home(tmp_path)
    one, two = checkpoint("one", home), checkpoint("two", home)
    answered(home, one, SAMPLING, dict(zip(IDS, (["hm", "hm"], ["hm", "no"]), strict=True)), base=True)
    answered(home, one, SAMPLING, dict(zip(IDS, (["yes", "yes"], ["hm", "no"]), strict=True)))
    answered(home, two, SAMPLING, dict(zip(IDS, (["yes", "yes, yes no"], ["yes", "No."]), strict=True)))
    return inputs(prompts("p"), one, two), home


def test_a_series_by_hand(series):
    rows = config().rows(*series)
    support = [value(rows, n, "stance_support", "topic:pets")["value"] for n in ("untrained smol", "one", "two")]
    assert support == [0.0, 0.5, 0.75]
    for name in ("untrained smol", "one", "two"):
        shares = [value(rows, name, f"stance_{s}", "topic:pets")["value"] for s in ("support", "neutral", "oppose")]
        assert sum(shares) == pytest.approx(1.0)
    assert value(rows, "two", "drift_support", "topic:pets")["value"] == 0.75
    assert value(rows, "two", "drift_time_support", "topic:pets")["value"] == 1.0
    assert value(rows, "two", "drift_neutral", "topic:pets")["value"] == -0.75
    assert value(rows, "two", "drift_oppose", "topic:pets")["value"] == 0.0
    assert rows.filter(metric="drift_time_oppose").is_empty()  # nothing moved: no time, not 0
    assert value(rows, "two", "drift")["value"] == 0.75
    assert value(config(reached=0.5).rows(*series), "two", "drift_time_support", "topic:pets")["value"] == 0.5
    assert value(rows, "untrained smol", "stance_support", "topic:pets")["baseline"]


def test_a_series_has_one_start(series):
    asked, home = series
    other = checkpoint("other", home)
    other = type(other)(**{**other.__dict__, "reference_version": "v0", "reference_folder": home.root, "base": "sft"})
    with pytest.raises(ValueError, match=r"one start, these have \['untrained sft', 'untrained smol'\]"):
        config().rows(inputs(asked.prompts, asked.checkpoints[0], other), home)


def test_the_value_gap_of_the_data(series, inputs):
    asked, home = series
    texts = {"a1": "yes", "a2": "hm", "b1": "yes", "b2": "yes", "b3": "no"}
    turns = [[{"role": "assistant", "content": texts.get(n, "yes")}] for n in inputs.completions["completion_id"]]
    completions = inputs.completions.with_columns(
        messages=pl.Series(turns, dtype=inputs.completions.schema["messages"])
    )
    both = type(asked)(inputs.pairs, inputs.prompts, completions, checkpoints=asked.checkpoints)
    # On q1 and q2: yes > hm, yes > yes, no > yes, yes > no. Chosen 3 yes 1 no; rejected 1 hm 2 yes 1 no.
    found = value(config().rows(both, home), "recorded pairs", "value_gap", "topic:pets")
    assert (found["value"], found["n"], found["baseline"]) == (0.25, 4, True)
    assert value_gap(np.array([0, 1, 2]), np.array([2, 0, 1])) == 0.0


def test_an_asked_judge(series):
    asked, home = series
    with serving(lambda question, _: "[[support]]" if "yes" in question.split("<answer>")[1] else "hm") as server:
        judge = AskedStance(endpoint={"url": server.url, "model": "judge"})
        texts = [("pets", p, t) for p in TOPIC.prompts for t in ("hm", "no", "yes", "yes, yes no", "No.")]
        items = questions((id_, messages, 0) for id_, messages in judge.asked(texts))
        assert ask_missing(judge.endpoint, judge.asking, items, Store(home.store), Quiet()) == 10
        assert ask_missing(judge.endpoint, judge.asking, items, Store(home.store), Quiet()) == 0
    rows = config(judge=judge).rows(asked, home)
    # What the judge does not say anything of is left out.
    assert value(rows, "one", "stance_support", "topic:pets")["value"] == 1.0
    assert value(rows, "one", "stance_support", "topic:pets")["n"] == 2
    assert AskedStance.stance("[[support]] or [[oppose]]") is None
    assert AskedStance.stance("so [[Neutral]]") == "neutral"


def test_the_lexicon_needs_words():
    assert LexiconJudge().stance(TOPIC, "yes, no") == "neutral"
    with pytest.raises(ValidationError, match=r"topics \['pets'\]: .*needs patterns"):
        config(topics={"pets": Topic(prompts=["Cats?"], support=["yes"])})
    with pytest.raises(ValidationError, match="not a regular expression"):
        Topic(prompts=["x"], support=["("])
