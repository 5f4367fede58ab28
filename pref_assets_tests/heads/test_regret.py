"""Regret: by hand, against partial return, and a grid world whose reward is learned from it."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pref_assets.heads.regret import Regret
from pref_assets.heads.regret_values import best_values, fit_regret_reward, link_nll, regret
from pref_assets.scoring.logistic import fit_heads
from pref_assets_tests.heads.toys import planted, pool_of, rated, swapped

SIZE, MOVES = 3, ((0, 1), (1, 0), (0, -1), (-1, 0))
GOAL, PIT = (2, 2), (1, 1)
HORIZON = 8


def step(state: tuple[int, int], move: int) -> tuple[int, int]:
    """Deterministic, walls keep; the goal and the pit end the walk."""
    if state in (GOAL, PIT):
        return state
    return tuple(np.clip(np.add(state, MOVES[move]), 0, SIZE - 1).tolist())  # type: ignore[return-value]


def features(state: tuple[int, int], move: int) -> np.ndarray:
    """A step taken, the goal reached, the pit fallen into."""
    after = step(state, move)
    if state in (GOAL, PIT):
        return np.zeros(3)
    return np.array([1.0, after == GOAL, after == PIT])


STATES = list(product(range(SIZE), range(SIZE)))
TRUTH = np.array([-1.0, 10.0, -10.0])


def walk(state: tuple[int, int], policy: dict[tuple[int, int], int]) -> np.ndarray:
    total = np.zeros(3)
    for _ in range(HORIZON):
        total += features(state, policy[state])
        state = step(state, policy[state])
    return total


def optimal(weights: np.ndarray) -> dict[tuple[int, int], int]:
    """The greedy policy of value iteration over the horizon."""
    values = dict.fromkeys(STATES, 0.0)
    for _ in range(HORIZON):
        values = {s: max(features(s, m) @ weights + values[step(s, m)] for m in range(4)) for s in STATES}
    return {s: max(range(4), key=lambda m: features(s, m) @ weights + values[step(s, m)]) for s in STATES}


def library(seed: int) -> np.ndarray:
    """Successor features (states, policies, 3) of optimal policies of random rewards."""
    rng = np.random.default_rng(seed)
    policies = [optimal(rng.normal(size=3) * [1, 10, 10]) for _ in range(30)]
    return np.array([[walk(s, policy) for policy in policies] for s in STATES])


def mean_return(policy: dict[tuple[int, int], int]) -> float:
    return float(np.mean([walk(s, policy) @ TRUTH for s in STATES if s not in (GOAL, PIT)]))


def test_equal_returns_and_better_prospects() -> None:
    returns, start = np.array([1.0, 1.0]), np.array([2.0, 2.0])
    lost = regret(returns, start, np.array([1.0, 0.0]))
    assert lost.tolist() == [0.0, 1.0]
    assert 1 / (1 + np.exp(-(lost[1] - lost[0]))) == pytest.approx(0.7311, abs=1e-4)
    pool = pool_of(
        np.eye(2), [{"chosen": 0, "rejected": 1}],
        completions=rated([{"r": 1, "v_start": 2, "v_end": 1}, {"r": 1, "v_start": 2, "v_end": 0}]),
    )  # fmt: skip
    margins = {
        link: Regret(returns="r", link=link).fit(pool, pool.pairs).predict(pool, pool.pairs)
        for link in ("regret", "partial_return")
    }
    assert margins["regret"].margin.tolist() == [1.0]
    assert margins["partial_return"].margin.tolist() == [0.0]
    assert margins["regret"].details["regret_rejected"].tolist() == [1.0]
    assert link_nll(np.zeros(1), np.ones(1)) == pytest.approx(np.log(2))


def test_equal_values_everywhere_make_the_links_the_same() -> None:
    pool, _ = planted(80, 5, seed=0)
    constant = pool_of(
        pool.embeddings["e"].matrix,
        [
            {"chosen": int(c[1:]), "rejected": int(r[1:])}
            for c, r in pool.pairs.select("chosen_id", "rejected_id").rows()
        ],
        completions=rated([{"v_start": 3.0, "v_end": 3.0}] * 160),
    )
    both = [
        Regret(embeddings="e", link=link).fit(constant, constant.pairs).predict(constant, constant.pairs).margin
        for link in ("regret", "partial_return")
    ]
    assert both[0] == pytest.approx(both[1], abs=1e-6)
    vectors = constant.embeddings["e"]
    x = vectors.rows(constant.pairs["chosen_id"].to_list()) - vectors.rows(constant.pairs["rejected_id"].to_list())
    w = fit_heads(x.astype(float), np.ones(80), np.ones((80, 1)), l2=1.0)[:, 0]
    assert both[1] == pytest.approx(x @ w, abs=1e-4)


def test_optimal_segments_have_no_regret_and_others_have_some() -> None:
    best = optimal(TRUTH)
    value = {s: walk(s, best) @ TRUTH for s in STATES}
    lost = {(s, m): value[s] - (features(s, m) @ TRUTH + value[step(s, m)]) for s in STATES for m in range(4)}
    assert min(lost.values()) >= -1e-9
    assert all(abs(lost[s, best[s]]) < 1e-9 for s in STATES)
    assert sum(each > 0.5 for each in lost.values()) > 8


def test_a_reward_learned_from_regret_induces_the_optimal_policy() -> None:
    psi = library(0)
    place = {s: row for row, s in enumerate(STATES)}
    best = optimal(TRUTH)
    value = {s: walk(s, best) @ TRUTH for s in STATES}
    rng = np.random.default_rng(1)
    segments = []
    for _ in range(600):
        state = first = STATES[rng.integers(len(STATES))]
        total = np.zeros(3)
        for move in rng.integers(4, size=2):
            total += features(state, int(move))
            state = step(state, int(move))
        segments.append((first, total, state))
    lost = np.array([value[a] - (f @ TRUTH + value[b]) for a, f, b in segments])
    left, right = np.arange(300), np.arange(300, 600)
    # Labels without noise: the side with less regret, ties even.
    labels = np.where(np.abs(lost[left] - lost[right]) < 1e-9, 0.5, lost[left] < lost[right])
    sums, starts, ends = (
        np.array(each) for each in zip(*((f, psi[place[a]], psi[place[b]]) for a, f, b in segments), strict=True)
    )
    weights = fit_regret_reward(
        (sums[left], sums[right]), (starts[left], starts[right]), (ends[left], ends[right]), labels, 0.001, 0.01, seed=0
    )
    rewarded = optimal(weights)
    uniform = np.mean([mean_return({s: int(rng.integers(4)) for s in STATES}) for _ in range(300)])
    scaled = (mean_return(rewarded) - uniform) / (mean_return(best) - uniform)
    assert scaled > 0.9
    assert best_values(psi, TRUTH, 1e-3) == pytest.approx((psi @ TRUTH).max(axis=1), abs=1e-3)


def head(**settings: Any) -> Regret:
    return Regret(**{"embeddings": "e", **settings})


def test_learned_weights_find_what_the_raters_look_at() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(600, 3))
    utility = values @ [1.0, 3.0, 0.0]
    left = rng.random(300) < 1 / (1 + np.exp(-(utility[:300] - utility[300:])))
    rows = [{"chosen": i if b else 300 + i, "rejected": 300 + i if b else i} for i, b in enumerate(left)]
    ratings = [dict(zip(("r", "v_end", "v_start"), row, strict=True)) for row in values]
    pool = pool_of(np.eye(600, 1), rows, completions=rated(ratings))
    found = head(embeddings=None, returns="r", term_weights="learned").fit(pool, pool.pairs)
    assert found.terms == pytest.approx([1.0, 3.0, 0.0], abs=0.7)
    there, back = found.predict(pool, pool.pairs), found.predict(pool, swapped(pool.pairs))
    assert there.margin == pytest.approx(-back.margin)
    again = found.config.restore(found.arrays())
    assert np.array_equal(again.predict(pool, pool.pairs).margin, there.margin)


def test_what_is_missing_is_told() -> None:
    with pytest.raises(ValidationError, match="one of the two"):
        Regret()
    pool, _ = planted(5, 3, seed=0)
    with pytest.raises(ValueError, match="5 of 5 pairs have no usable rating of 'v_end' on the chosen side"):
        head().fit(pool, pool.pairs)
