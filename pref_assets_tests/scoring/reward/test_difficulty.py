"""Reference difficulty: the published table, the flip rule as a property, and the optimum it speaks of."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pref_assets.pairs.schema import COMPLETIONS, PAIR_SCORES, PAIRS, REFERENCE_LOGPS
from pref_assets.pool import Pool
from pref_assets.scoring.reward import RefDifficulty
from pref_assets.scoring.reward.difficulty import flip_threshold_loss, ipo_needs, max_repairable
from pref_assets_tests.scoring.reward.conftest import details
from pref_assets_tests.selection.invariants import shuffled


def pool_of(logps, p_chosen=None, tokens=None):
    """Pairs with (log ref(chosen), log ref(rejected))."""
    n = len(logps)
    p_chosen, tokens = p_chosen or [1.0] * n, tokens or [(1, 1)] * n
    pairs = [
        {"pair_id": f"p{i}", "chosen_id": f"c{i}", "rejected_id": f"r{i}", "p_chosen": p, "split": "train"}
        for i, p in enumerate(p_chosen)
    ]
    rows = [
        {"completion_id": f"{side}{i}", "key": "k", "logp": logp, "n_tokens": count, "truncated": False}
        for i, (both, counts) in enumerate(zip(logps, tokens, strict=True))
        for side, logp, count in zip("cr", both, counts, strict=True)
    ]
    return Pool(PAIRS.frame(pairs), COMPLETIONS.empty(), reference_logps={"base": REFERENCE_LOGPS.frame(rows)})


def test_thresholds_of_the_card():
    expected = [0.6931, 0.3133, 0.0067, 4.5e-5]
    assert flip_threshold_loss(np.array([0.0, 10, 50, 100]), 0.1) == pytest.approx(expected, rel=1e-2)
    assert flip_threshold_loss(np.array([1e9, -1e9]), 0.1).tolist() == [0.0, 1e8]
    assert max_repairable(np.array([0.75]), 0.1)[0] == pytest.approx(10.986, abs=5e-4)
    assert max_repairable(np.array([0.5, 1.0, 0.0]), 1.0) == pytest.approx([0, math.log(999), -math.log(999)])
    assert ipo_needs(0.1) == -5


@settings(max_examples=300, deadline=None)
@given(
    change=st.floats(-60, 60).filter(lambda x: abs(x) > 1e-6),
    c=st.floats(-100, 100),
    beta=st.floats(0.01, 0.3),
)
def test_a_policy_ranks_right_exactly_when_its_loss_is_below_the_threshold(change, c, beta):
    """``change`` is log policy(chosen) - log policy(rejected); with the reference's -c this makes the DPO margin."""
    loss = np.logaddexp(0.0, -beta * (change + c))
    assert (change > 0) == bool(loss <= flip_threshold_loss(np.array([c]), beta)[0])


def test_the_flip_rule_on_many_random_cases():
    rng = np.random.default_rng(0)
    c, change, beta = rng.normal(0, 30, 100_000), rng.normal(0, 30, 100_000), 0.1
    loss = np.logaddexp(0.0, -beta * (change + c))
    assert ((change >= 0) != (loss <= flip_threshold_loss(c, beta))).sum() == 0


@pytest.mark.parametrize("c", [3.0, 10.9, 11.1, 40.0])
def test_the_optimum_of_a_tabular_policy_turns_what_the_score_calls_repairable(c):
    """Minimise the expected DPO loss of one pair at a = .75 over the policy's own log-ratio, by bisection."""
    beta, a = 0.1, 0.75

    def slope(change):
        share = 1 / (1 + math.exp(-beta * (change + c)))
        return share - a

    low, high = -500.0, 500.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    found = RefDifficulty(reference="base", beta=beta).score(pool_of([(-c, 0.0)], [a]))
    assert details(found, "ideal_log_ratio")[0] == pytest.approx(low, abs=1e-6)
    assert (found["category"][0] == "repairable") == (low > 0)
    assert details(found, "ideal_correct") == [float(low > 0)]


def test_the_columns_by_hand():
    pool = pool_of(
        [(-10.0, -12.0), (-20.0, -10.0), (-90.0, -10.0), (-5.0, -5.005)],
        [1.0, 0.75, 0.75, 0.5],
        tokens=[(5, 4), (20, 5), (9, 1), (1, 1)],
    )
    found = RefDifficulty(reference="base").score(pool)
    assert found.schema == PAIR_SCORES.schema
    assert found["score"].to_list() == pytest.approx([-2, 10, 80, -0.005])
    assert found["score_chosen"].to_list() == [-10, -20, -90, -5]
    assert found["category"].to_list() == ["right", "repairable", "out_of_reach", "right"]
    assert details(found, "ref_log_ratio") == pytest.approx([2, -10, -80, 0.005])
    assert details(found, "flip_threshold_loss") == pytest.approx([0.7981, 0.3133, 3.354e-4, 0.69340], rel=1e-3)
    assert details(found, "max_repairable") == pytest.approx([69.0675, 10.9861, 10.9861, 0.0], abs=1e-4)
    assert details(found, "rank_correct") == [1.0, 0.0, 0.0, 0.5]
    assert details(found, "rank_correct_ln") == [1.0, 1.0, 0.5, 1.0]
    assert_frame_equal(RefDifficulty(reference="base").score(shuffled(pool, 3)), found)


def test_a_scaled_reference():
    pool = pool_of([(-20.0, -10.0)], [0.75])
    assert RefDifficulty(reference="base", reference_scale=0.0).score(pool)["category"].to_list() == ["right"]
    assert RefDifficulty(reference="base", reference_scale=2.0).score(pool)["score"].to_list() == [20.0]


def test_the_reference_itself_has_the_loss_of_a_coin_and_ranks_what_it_ranks():
    rng = np.random.default_rng(1)
    logps = rng.normal(-50, 10, size=(200, 2))
    found = RefDifficulty(reference="base").score(pool_of([tuple(row) for row in logps.tolist()]))
    right = (logps[:, 0] > logps[:, 1]).mean()
    assert (found["score"] <= 0).mean() == pytest.approx(right)
    # A policy that still is the reference has loss log 2, below the threshold exactly where c <= 0.
    at_start = [math.log(2) <= threshold for threshold in details(found, "flip_threshold_loss")]
    assert np.mean(at_start) == pytest.approx(right)


@pytest.mark.parametrize("bad", [None, float("nan"), float("-inf")])
def test_a_pair_without_a_usable_log_probability_is_an_error(bad):
    pool = pool_of([(-1.0, -2.0), (bad, -2.0)])
    with pytest.raises(ValueError, match=r"1 of 2 pairs have no usable log-probability in reference_logps 'base'.*p1"):
        RefDifficulty(reference="base").score(pool)
    absent = pool_of([(-1.0, -2.0)])
    few = {"base": absent.reference_logps["base"].head(1)}
    with pytest.raises(ValueError, match="cover every pair"):
        RefDifficulty(reference="base").score(Pool(absent.pairs, absent.completions, reference_logps=few))


def test_no_pairs():
    empty = Pool(PAIRS.empty(), COMPLETIONS.empty(), reference_logps={"base": REFERENCE_LOGPS.empty()})
    assert_frame_equal(RefDifficulty(reference="base").score(empty), pl.DataFrame(schema=PAIR_SCORES.schema))
