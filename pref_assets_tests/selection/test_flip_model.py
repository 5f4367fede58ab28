"""The likelihood with flips against its limits and finite differences, and what it finds of planted flips."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from pref_assets.scoring.logistic import fit_heads
from pref_assets.selection import Budget, FlipModel
from pref_assets.selection.flip_likelihood import (
    fit_two_heads,
    flip_probability,
    negative_log_likelihood,
    sigmoid,
)
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.planted import plant

R = np.array([-30.0, -2.0, 0.0, 0.7, 5.0])


def test_without_flips_the_gradients_are_those_of_logistic_regression():
    for label, expected in ((1.0, -sigmoid(-R)), (0.0, sigmoid(R)), (0.3, sigmoid(R) - 0.3)):
        loss, by_margin, by_logit = negative_log_likelihood(R, np.full(5, -60.0), np.full(5, label))
        assert by_margin == pytest.approx(expected, abs=1e-8)
        assert by_logit == pytest.approx(0, abs=1e-8)
        assert loss == pytest.approx(label * np.logaddexp(0, -R) + (1 - label) * np.logaddexp(0, R), abs=1e-8)


def test_gradients_are_finite_differences():
    rng = np.random.default_rng(0)
    margins, logits, label = rng.normal(size=50) * 3, rng.normal(size=50) * 2, rng.random(50)
    _, by_margin, by_logit = negative_log_likelihood(margins, logits, label)
    step = 1e-6
    for moved, gradient in (((step, 0), by_margin), ((0, step), by_logit)):
        up, down = (negative_log_likelihood(margins + s * moved[0], logits + s * moved[1], label)[0] for s in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(gradient, abs=1e-7)


def test_probability_of_a_flip_by_hand():
    # Prior 0.2, the model believes the label with 0.1: 0.2 * 0.9 / (0.2 * 0.9 + 0.8 * 0.1).
    found = flip_probability(np.array([np.log(0.1 / 0.9), 0.0]), np.array([np.log(0.2 / 0.8)] * 2))
    assert found == pytest.approx([0.18 / 0.26, 0.2])
    loss, _, _ = negative_log_likelihood(np.array([np.log(0.1 / 0.9)]), np.array([np.log(0.25)]), np.ones(1))
    assert loss == pytest.approx(-np.log(0.26))


def test_planted_flips_have_a_high_probability_and_the_head_is_no_worse_than_a_plain_one():
    world = plant(0.2, sharpness=5.0)
    p_flip = FlipModel(embeddings="minilm").p_flip(world.pool.candidates(), world.pool.embeddings["minilm"])
    assert roc_auc_score(world.flipped, p_flip) > 0.9
    assert p_flip.mean() == pytest.approx(0.2, abs=0.05)
    ones = np.ones(len(world.x))
    plain = fit_heads(world.x, ones, ones[:, None], 1.0)[:, 0]
    heads = fit_two_heads(world.x, np.zeros((len(world.x), 1)), ones, 0.1, 1.0, 10.0)
    assert world.accuracy(heads.w) > world.accuracy(plain)


def test_the_flip_head_learns_where_labels_are_flipped():
    world = plant(0.0, n=3000, d=8, sharpness=5.0, seed=3)
    rng = np.random.default_rng(0)
    kind = rng.normal(size=(3000, 1))
    flipped = (kind[:, 0] > 0) & (rng.random(3000) < 0.4)
    x = np.where(flipped[:, None], -world.x, world.x)
    heads = fit_two_heads(x, kind, np.ones(3000), 0.1, 1.0, 0.1)
    before = sigmoid(heads.flip_logits(kind))
    assert before[kind[:, 0] > 1].mean() > 0.3
    assert before[kind[:, 0] < -1].mean() < 0.05


def test_actions():
    world = plant(0.2, n=600, d=8, sharpness=5.0)
    by_action = {
        a: FlipModel(embeddings="minilm", action=a).select(world.pool) for a in ("weight", "soft_label", "drop", "flip")
    }
    p_flip = by_action["weight"]["score"].to_numpy()
    weighed = by_action["weight"]
    kept = 1 - 2 * p_flip >= 0.01
    assert weighed["selected"].to_list() == kept.tolist()
    assert weighed["weight"].to_numpy()[kept] == pytest.approx((1 - 2 * p_flip)[kept])
    assert by_action["soft_label"]["p_chosen"].to_numpy() == pytest.approx(1 - p_flip)
    assert by_action["drop"]["selected"].to_list() == (p_flip <= 0.5).tolist()
    assert by_action["flip"]["p_chosen"].to_list() == [0.0 if p > 0.5 else None for p in p_flip]
    worst = weighed.sort("score", descending=True)[0]
    assert worst["reason"].item() == f"flipped: flipped with probability {round(worst['score'].item(), 4)}"


def test_ties_are_never_flipped_and_soft_labels_are_mixed():
    world = plant(0.2, n=300, d=4, sharpness=5.0)
    labels = pl.when(pl.col("pair_id") < "p00100").then(0.5).when(pl.col("pair_id") < "p00200").then(0.8).otherwise(1.0)
    pool = replace(world.pool, pairs=world.pool.pairs.with_columns(p_chosen=labels))
    decisions = FlipModel(embeddings="minilm", action="soft_label").select(pool).sort("pair_id")
    assert decisions["score"][:100].to_list() == [0.0] * 100
    assert decisions["p_chosen"][:100].to_list() == [0.5] * 100
    q = decisions["score"][100:200].to_numpy()
    assert decisions["p_chosen"][100:200].to_numpy() == pytest.approx((1 - q) * 0.8 + q * 0.2)


@pytest.mark.parametrize("action", ["weight", "soft_label", "drop", "flip"])
@pytest.mark.parametrize("budget", [None, Budget(count=50)])
def test_promises(action, budget):
    pool = plant(0.2, n=120, d=4, sharpness=5.0).pool
    split = pl.when(pl.col("pair_id") < "p00003").then(pl.lit("test")).otherwise("split")
    pool = replace(pool, pairs=pool.pairs.with_columns(split=split))
    assert_promises(FlipModel(embeddings="minilm", action=action, budget=budget), pool)


def test_one_prompt_and_missing_vectors_are_errors():
    pool = plant(0.2, n=20, d=4).pool
    one = replace(pool, pairs=pool.pairs.with_columns(prompt_id=pl.lit("q")))
    with pytest.raises(ValueError, match="all 20 train pairs fall into one of 5 folds"):
        FlipModel(embeddings="minilm").select(one)
    vectors = pool.embeddings["minilm"]
    fewer = replace(vectors, ids=vectors.ids[1:], matrix=vectors.matrix[1:])
    with pytest.raises(ValueError, match="1 ids have no embedding"):
        FlipModel(embeddings="minilm").select(replace(pool, embeddings={"minilm": fewer}))
    with pytest.raises(FloatingPointError, match="did not converge in 1 steps"):
        fit_two_heads(plant(0.2, n=200, d=4).x, np.zeros((200, 1)), np.ones(200), 0.1, 1e-3, 1.0, max_steps=1)
