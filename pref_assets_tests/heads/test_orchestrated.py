"""Prompt weights: the paper's numbers, the adapter on planted prompts, and what is known to go wrong."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.heads.orchestrated import Orchestrated
from pref_assets.heads.simplex import entropy, fit_adapter, softmax, target_weights, z_scale
from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets_tests.heads.toys import pool_of, rated, swapped


def test_weights_of_three_rewards_by_hand() -> None:
    rewards = np.array([[2.0, 1.0, 0.0]])
    weights = target_weights(rewards, 1.0)
    assert weights[0] == pytest.approx([0.66524, 0.24473, 0.09003], abs=1e-5)
    assert (weights * rewards).sum() == pytest.approx(1.57521, abs=1e-5)
    assert target_weights(rewards, 1e9)[0] == pytest.approx([1 / 3] * 3)
    assert entropy(np.array([[1.0, 0, 0], [1 / 3] * 3])) == pytest.approx([0, np.log(3)])


def test_a_constant_added_to_one_reward_matters_only_without_z_scores() -> None:
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(50, 3))
    moved = rewards + np.array([5.0, 0, 0])
    there, back = ((each - z_scale(each)[0]) / z_scale(each)[1] for each in (rewards, moved))
    assert target_weights(there, 1.0) == pytest.approx(target_weights(back, 1.0))
    assert np.abs(target_weights(rewards, 1.0) - target_weights(moved, 1.0)).max() > 0.3


def test_the_adapter_finds_planted_kinds_of_prompts() -> None:
    rng = np.random.default_rng(1)
    kind = rng.integers(4, size=400)
    states = 4 * np.eye(4, 12)[kind] + 0.3 * rng.normal(size=(400, 12))
    planted = softmax(rng.normal(size=(4, 3)))
    matrix, bias = fit_adapter(states, planted[kind], l2=1e-3, max_steps=1000)
    fresh = rng.integers(4, size=400)
    found = softmax((4 * np.eye(4, 12)[fresh] + 0.3 * rng.normal(size=(400, 12))) @ matrix.T + bias)
    divergence = (planted[fresh] * np.log(planted[fresh] / found)).sum(axis=1)
    assert divergence.mean() < 0.02


def world(n: int = 200, seed: int = 0) -> tuple[Any, np.ndarray]:
    """Two kinds of prompts; raters prefer by reward `a` on the first kind, by `b` on the second."""
    rng = np.random.default_rng(seed)
    kind = np.arange(2 * n) % n % 2
    rewards = rng.normal(size=(2 * n, 2))
    matrix = np.stack([1 - kind, kind], axis=1) + 0.05 * rng.normal(size=(2 * n, 2))
    value = rewards[np.arange(2 * n), kind]
    left = value[:n] > value[n:]
    rows = [{"chosen": i if left[i] else n + i, "rejected": n + i if left[i] else i} for i in range(n)]
    return pool_of(matrix, rows, completions=rated([{"a": a, "b": b} for a, b in rewards])), kind[:n]


def head(**settings: Any) -> Orchestrated:
    return Orchestrated(**{"embeddings": "e", "dimensions": ("a", "b"), "l2": 1e-2, **settings})


def test_weights_follow_the_prompt_and_beat_equal_ones() -> None:
    pool, kind = world()
    found = head().fit(pool, pool.pairs).predict(pool, pool.pairs)
    assert found.details["w_b"][kind == 1].mean() > found.details["w_b"][kind == 0].mean() + 0.2
    assert found.details["w_a"] + found.details["w_b"] == pytest.approx(1)
    uniform = head(embeddings=None, weights="uniform")
    equal = uniform.fit(pool, pool.pairs).predict(pool, pool.pairs)
    assert (found.margin > 0).mean() > (equal.margin > 0).mean() + 0.02
    fixed = head(embeddings=None, weights="fixed", fixed_weights=(0.5, 0.5)).fit(pool, pool.pairs)
    assert fixed.predict(pool, pool.pairs).margin == pytest.approx(equal.margin)


def test_harmful_prompts_get_a_low_weight_of_safety() -> None:
    """Reviewers' counter-example: the safest answer to a harmful prompt is less safe than any to a harmless one, so
    that the weight of safety is low exactly where it should be high. The method does this; it is not a bug here."""
    n = 40
    safety = [-1.0 if i < n // 2 else 1.0 for i in range(n)] * 2
    ratings = [{"safety": s, "help": 0.1 * (i % 3)} for i, s in enumerate(safety)]
    matrix = np.array([[s, 1.0] for s in safety])
    pool = pool_of(matrix, [{"chosen": i, "rejected": n + i} for i in range(n)], completions=rated(ratings))
    found = head(dimensions=("safety", "help")).fit(pool, pool.pairs).predict(pool, pool.pairs)
    harmful = np.arange(n) < n // 2
    assert found.details["w_safety"][harmful].mean() < 0.4 < 0.6 < found.details["w_safety"][~harmful].mean()


@pytest.mark.parametrize("weights", ["adapter", "uniform", "oracle"])
def test_sides_swap_and_arrays_restore(weights: str) -> None:
    pool, _ = world(30)
    method = head(embeddings="e" if weights == "adapter" else None, weights=weights)
    fitted = method.fit(pool, pool.pairs)
    there, back = fitted.predict(pool, pool.pairs), fitted.predict(pool, swapped(pool.pairs))
    assert there.margin == pytest.approx(-back.margin, abs=1e-12)
    assert there.score_chosen is not None
    assert back.score_rejected == pytest.approx(there.score_chosen)
    again = method.restore(fitted.arrays()).predict(pool, pool.pairs)
    assert np.array_equal(again.margin, there.margin)


def test_scores_of_both_sides_are_rewards_too() -> None:
    pool, _ = world(20)
    found = head().fit(pool, pool.pairs)
    tables = {}
    for name in ("a", "b"):
        value = dict(
            pool.completions.explode("ratings")
            .unnest("ratings")
            .filter(dimension=name)
            .select("completion_id", "value")
            .rows()
        )
        tables[name] = PAIR_SCORES.frame(
            {"pair_id": p, "score_chosen": value[c], "score_rejected": value[r]}
            for p, c, r in pool.pairs.select("pair_id", "chosen_id", "rejected_id").rows()
        )
    scored = pool_of(pool.embeddings["e"].matrix, [], scores=tables)
    scored = type(pool)(pool.pairs, scored.completions, tables, pool.embeddings)
    same = head(dimensions=(), scores=("a", "b")).fit(scored, scored.pairs)
    assert np.array_equal(found.predict(pool, pool.pairs).margin, same.predict(scored, scored.pairs).margin)
    hole = {**tables, "a": tables["a"][1:]}
    broken = type(pool)(pool.pairs, pool.completions, hole, pool.embeddings)
    with pytest.raises(ValueError, match="1 of 20 pairs have no usable score_chosen in scores 'a'"):
        head(dimensions=(), scores=("a", "b")).fit(broken, broken.pairs)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dimensions": ()}, "one of the two"),
        ({"dimensions": ("a",)}, "two or more"),
        ({"weights": "uniform"}, "`embeddings` are what"),
        ({"embeddings": None, "weights": "fixed"}, "`fixed_weights` are"),
        ({"embeddings": None, "weights": "fixed", "fixed_weights": (0.5, 0.6)}, "sum to 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        head(**settings)


def test_missing_ratings_are_told() -> None:
    pool, _ = world(10)
    bare = type(pool)(
        pool.pairs,
        pool.completions.with_columns(ratings=pl.lit([]).cast(pool.completions["ratings"].dtype)),
        {},
        pool.embeddings,
    )
    with pytest.raises(ValueError, match="10 of 10 pairs have no usable rating of 'a' on the chosen side"):
        head().fit(bare, bare.pairs)
