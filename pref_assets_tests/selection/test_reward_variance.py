"""Reward variance: the kept share of coin-flip rewards, what is dropped has nothing to teach, and every promise."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.scoring.base import pair_scores
from pref_assets.scoring.reward.groups import advantages
from pref_assets.scoring.reward.rollouts import DETAILS, group_stats
from pref_assets.selection import RewardVariance
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool, selected


def rolled(groups, held_out=0, passes_at=1.0):
    """A pool whose pair ``i`` has rewards ``groups[i]``; held-out pairs have none."""
    rows = [group_stats(group, passes_at) for group in groups]
    frame = pl.DataFrame(rows, schema=list(DETAILS), orient="row").with_columns(
        pair_id=pl.Series([f"p{i:03}" for i in range(len(groups))]), score="std"
    )
    return replace(make_pool([0.0] * len(groups), held_out), scores={"rollouts": pair_scores(frame, DETAILS)})


GROUPS = [[1.0] * 4, [0.0] * 4, [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0.0] * 4, [1.0] * 4, [0, 1, 0, 1]]


@pytest.mark.parametrize("mode", ["mixed", "std_at_least", "top_k_std"])
@pytest.mark.parametrize("budget", [1, 3, 6, "100%", "25%"])
def test_promises(mode, budget):
    decisions = assert_promises(RewardVariance(scores="rollouts", mode=mode, budget=budget, seed=3), rolled(GROUPS, 2))
    assert decisions["reason"].str.contains("^held_out$|std .*, pass rate").all()


@pytest.mark.parametrize(("n", "kept"), [(4, 0.600), (8, 0.778), (16, 0.882)], ids=["four answers", "eight", "sixteen"])
def test_share_of_prompts_with_mixed_answers_when_all_pass_rates_are_equally_likely(n, kept):
    """The share is 1 - 2 / (N + 1)."""
    rng = np.random.default_rng(0)
    rewards = (rng.random((4000, n)) < rng.random((4000, 1))).astype(float)
    pool = rolled(rewards.tolist())
    method = RewardVariance(scores="rollouts", budget="100%", fill=False)
    decisions = method.select(pool)
    assert decisions["selected"].mean() == pytest.approx(kept, abs=0.02)
    dropped = decisions.filter(~pl.col("selected"))["pair_id"].str.slice(1).cast(pl.Int64)
    assert all((advantages(rewards[row].tolist()) == 0).all() for row in dropped)
    assert set(decisions.filter(~pl.col("selected"))["reason"].str.extract("^([a-z_]+):")) == {"constant_reward"}


def test_modes_by_hand():
    pool = rolled(GROUPS)
    mixed = RewardVariance(scores="rollouts", budget="100%", fill=False)
    assert set(selected(mixed.select(pool))) == {"p002", "p003", "p004", "p007"}
    wide = RewardVariance(scores="rollouts", mode="std_at_least", min_std=0.45, budget="100%", fill=False)
    assert set(selected(wide.select(pool))) == {"p003", "p007"}
    top = RewardVariance(scores="rollouts", mode="top_k_std", budget=2)
    assert set(selected(top.select(pool))) == {"p003", "p007"}


def test_filling_up_takes_the_widest_of_the_others_and_says_so():
    pool = rolled([[0.2, 0.4], [0.1, 0.9], [0.0, 1.0], [0.5, 0.5]])
    decisions = RewardVariance(scores="rollouts", budget=3).select(pool).sort("rank")
    assert decisions["pair_id"].to_list() == ["p002", "p001", "p000", "p003"]
    codes = decisions["reason"].str.extract("^([a-z_]+):").to_list()
    assert codes == ["selected", "filled", "filled", "constant_reward"]
    short = RewardVariance(scores="rollouts", budget=3, fill=False)
    assert selected(assert_promises(short, pool, short=True)) == ["p002"]


def test_the_largest_spreads_do_not_depend_on_the_scale_of_rewards():
    rng = np.random.default_rng(2)
    rewards = rng.random((40, 8))
    method = RewardVariance(scores="rollouts", mode="top_k_std", budget=11, seed=1)
    once, again = (selected(method.select(rolled(each.tolist()))) for each in (rewards, 7 * rewards - 3))
    assert once == again


def test_constant_rewards_are_ordered_by_the_seed_alone():
    pool = rolled([[1.0, 1.0]] * 12)
    picks = {tuple(selected(RewardVariance(scores="rollouts", budget=4, seed=s).select(pool))) for s in range(5)}
    assert len(picks) == 5


def test_a_pair_without_rollouts_is_an_error():
    pool = rolled(GROUPS)
    few = {"rollouts": pool.scores["rollouts"].head(5)}
    with pytest.raises(ValueError, match="3 of 8 train pairs have no usable 'pass_rate' in scores 'rollouts'"):
        RewardVariance(scores="rollouts", budget=2).select(replace(pool, scores=few))
    with pytest.raises(ValueError, match="budget of 9 pairs"):
        RewardVariance(scores="rollouts", budget=9).select(pool)
    with pytest.raises(ValidationError):
        RewardVariance(scores="rollouts", budget=2, mode="largest")
