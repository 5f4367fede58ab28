"""Best of n: the card's numbers, every subset, over-optimisation."""

from itertools import combinations
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pref_assets.evaluation.best_of_n import BestOfN, best_of, expected_best, kl_bound
from pref_assets.evaluation.judges import RewardJudge
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets_tests.evaluation.fake_policies import answered, checkpoint, inputs, prompts, rewarded, value

SAMPLING = Sampling(temperature=1.0)
PROBABILITIES, REWARDS = np.array([0.7, 0.2, 0.1]), np.array([0.0, 1.0, 2.0])


def test_expected_rewards_of_a_known_sampler():
    found = [expected_best(PROBABILITIES, REWARDS, n) for n in (1, 4, 8)]
    assert found == pytest.approx([0.400, 1.104, 1.512], abs=5e-4)


def test_the_estimate_is_unbiased():
    drawn = np.random.default_rng(0).choice(REWARDS, p=PROBABILITIES, size=(20_000, 8))
    for n in (1, 4, 8):
        estimate = best_of(drawn, drawn, n)
        assert estimate.mean() == pytest.approx(expected_best(PROBABILITIES, REWARDS, n), abs=4 * estimate.std() / 141)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=1, max_size=6),
    st.data(),
)
def test_it_is_the_mean_over_every_choice(answers, data):
    ranked, worth = (np.array([each], float) for each in zip(*answers, strict=True))
    n = data.draw(st.integers(1, len(answers)))
    plain = [max(ranked[0][list(chosen)]) for chosen in combinations(range(len(answers)), n)]
    assert best_of(ranked, ranked, n)[0] == pytest.approx(np.mean(plain))
    if len(set(ranked[0])) == len(answers):
        first = [worth[0][max(chosen, key=lambda i: ranked[0][i])] for chosen in combinations(range(len(answers)), n)]
        assert best_of(ranked, worth, n)[0] == pytest.approx(np.mean(first))
    # Where everything ranks the same, choosing does nothing.
    assert best_of(np.zeros_like(ranked), worth, n)[0] == pytest.approx(worth.mean())


def test_the_bound():
    assert kl_bound(1) == 0.0
    assert kl_bound(4) == pytest.approx(log(4) - 0.75)


def test_curves_of_a_policy_and_its_reference(tmp_path):
    home = Home(tmp_path)
    dpo, rm, gold = (
        checkpoint("dpo", home),
        checkpoint("rm", home, "reward_model"),
        checkpoint("gold", home, "reward_model"),
    )
    ours, theirs = {"a": ["1", "2", "3"], "b": ["0", "0", "6"]}, {"a": ["0", "0", "0"], "b": ["1", "1", "1"]}
    answered(home, dpo, SAMPLING, ours)
    answered(home, dpo, SAMPLING, theirs, base=True)
    for answers in (ours, theirs):
        rewarded(home, rm, answers, float)
        rewarded(home, gold, answers, lambda text: -float(text))
    config = BestOfN(
        judge=RewardJudge(checkpoint="rm"),
        gold=RewardJudge(checkpoint="gold"),
        samples=3,
        n=[1, 2, 3],
        sampling=SAMPLING,
        resamples=100,
    )
    rows = config.rows(inputs(prompts("a", "b"), dpo, rm=rm, gold=gold), home)
    curve = [value(rows, "dpo", f"best_of_{n}")["value"] for n in (1, 2, 3)]
    # a: 2, (2 + 3 + 3) / 3, 3; b: 2, (0 + 6 + 6) / 3, 6.
    assert curve == pytest.approx([2.0, (8 / 3 + 4) / 2, 4.5])
    assert [value(rows, "dpo", f"gold_best_of_{n}")["value"] for n in (1, 2, 3)] == pytest.approx([-v for v in curve])
    assert [value(rows, "untrained smol", f"best_of_{n}")["value"] for n in (1, 3)] == [0.5, 0.5]
    assert value(rows, "any sampler", "kl_bound_best_of_2")["value"] == pytest.approx(kl_bound(2))


def test_n_is_at_most_the_samples():
    with pytest.raises(ValidationError, match="between 1 and `samples`, 4"):
        BestOfN(judge=RewardJudge(checkpoint="rm"), samples=4)
