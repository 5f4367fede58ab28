"""Flags beside cleanlab's, by hand, and on planted flips."""

import warnings
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pref_assets.scoring import BradleyTerry, RewardEnsemble
from pref_assets.selection import Budget, ConfidentLearning
from pref_assets.selection.confident_learning import confident, flagged
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.planted import plant
from pref_assets_tests.selection.pools import make_pool, selected

# The mean is 0.5833: p003 and p004 are contradicted at least as surely, and p000, p001, p005 supported.
P = [0.9, 0.95, 0.45, 0.1, 0.4, 0.7]
RULES = {
    "confident_learning": "confident_learning",
    "prune_by_noise_rate": "prune_by_noise_rate",
    "predicted_other": "predicted_neq_given",
}


def pool_of(p, **more):
    return make_pool([0.0] * len(p), p_correct=p, **more)


def test_confident_contradictions_by_hand():
    against, towards = confident(np.array(P))
    assert against.tolist() == [False, False, False, True, True, False]
    assert towards.tolist() == [True, True, False, False, False, True]
    order = np.arange(6, dtype=np.uint64)
    assert flagged(np.array(P), order, "confident_learning").tolist() == against.tolist()
    # 2 of 5 confident pairs are wrong, so 0.4 x 6 = 2.4 of all are.
    assert np.flatnonzero(flagged(np.array(P), order, "prune_by_noise_rate")).tolist() == [3, 4]
    assert np.flatnonzero(flagged(np.array(P), order, "predicted_other")).tolist() == [2, 3, 4]
    assert flagged(np.array([]), order[:0], "prune_by_noise_rate").tolist() == []


@pytest.mark.parametrize("rule", RULES)
def test_flags_are_those_of_cleanlab_on_pairs_in_both_orders(rule):
    find_label_issues = pytest.importorskip("cleanlab.filter", reason="compared where cleanlab is").find_label_issues
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 300))
        p = 1 / (1 + np.exp(-rng.normal(rng.uniform(-0.5, 2), rng.uniform(0.3, 3), n)))
        labels = np.repeat([1, 0], n)
        both = np.concatenate([np.stack([1 - p, p], axis=1), np.stack([p, 1 - p], axis=1)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = find_label_issues(labels, both, filter_by=RULES[rule], n_jobs=1)
        assert np.array_equal(flagged(p, np.arange(n, dtype=np.uint64), rule), theirs[:n])
        assert np.array_equal(theirs[:n], theirs[n:])


def test_actions():
    dropped = ConfidentLearning(scores="strength").select(pool_of(P))
    assert dropped["selected"].to_list() == [True, True, True, False, False, True]
    assert dropped["reason"][3] == "flipped: prune_by_noise_rate, label right with probability 0.1"
    assert selected(dropped) == ["p001", "p000", "p005", "p002"]
    turned = ConfidentLearning(scores="strength", action="flip").select(pool_of(P))
    assert turned["p_chosen"].to_list() == [None, None, None, 0.0, 0.0, None]
    assert turned["selected"].all()
    weighed = ConfidentLearning(scores="strength", action="weight", least_weight=0.2).select(pool_of(P))
    assert weighed["weight"].to_list() == [1.0, 1.0, 1.0, 0.2, 0.4, 1.0]


def test_ties_stay_and_do_not_count():
    pool = pool_of([*P, 0.0, 0.0])
    tied = pl.when(pl.col("pair_id") >= "p006").then(0.5).otherwise("p_chosen")
    pool = replace(pool, pairs=pool.pairs.with_columns(p_chosen=tied))
    decisions = ConfidentLearning(scores="strength").select(pool)
    assert decisions["selected"].to_list() == [True, True, True, False, False, True, True, True]


def test_equal_probabilities_are_flagged_by_the_seed():
    pool = pool_of([0.9] * 60 + [0.1] * 40)
    flags = [ConfidentLearning(scores="strength", seed=s).select(pool) for s in (0, 1)]
    assert [d["selected"].sum() for d in flags] == [60, 60]
    constant = ConfidentLearning(scores="strength").select(pool_of([0.7] * 10))
    assert constant["selected"].all()


@pytest.mark.parametrize("action", ["drop", "flip", "weight"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("budget", [None, Budget(count=12)])
def test_promises(action, rule, budget):
    pool = pool_of(np.random.default_rng(1).beta(3, 2, size=40).round(2).tolist())
    assert_promises(ConfidentLearning(scores="strength", action=action, rule=rule, budget=budget), pool)
    assert_promises(ConfidentLearning(scores="strength", action=action, rule=rule), make_pool([], held_out=2))


def test_what_is_no_probability_is_an_error():
    with pytest.raises(ValueError, match=r"2 of 3 train pairs have no probability as 'score' in scores 'strength'.*p0"):
        ConfidentLearning(scores="strength", column="score").select(make_pool([0.5, -1.0, 2.0]))
    with pytest.raises(ValueError, match=r"budget of 6 pairs, but only 4 of 6 look clean"):
        ConfidentLearning(scores="strength", budget=Budget(count=6)).select(pool_of(P))


@pytest.mark.parametrize(("flips", "precision", "recall"), [(0.2, 0.8, 0.8), (0.4, 0.7, 0.7)])
def test_planted_flips_are_found(flips, precision, recall):
    world = plant(flips, seed=1)
    vectors = world.pool.embeddings["minilm"]
    ensemble = BradleyTerry(embeddings="minilm").fit(world.pool.pairs, vectors)
    scores = RewardEnsemble(reward_model="rm").strengths(world.pool.pairs, vectors, ensemble)
    decisions = ConfidentLearning(scores="strength").select(replace(world.pool, scores={"strength": scores}))
    found = ~decisions["selected"].to_numpy()
    assert world.flipped[found].mean() > precision
    assert found[world.flipped].mean() > recall
