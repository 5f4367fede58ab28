from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.selection import ProductScoreDiverse
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool, selected


def product(**settings: Any) -> ProductScoreDiverse:
    return ProductScoreDiverse(factors=[{"scores": "a"}, {"scores": "b"}], embeddings="minilm", **settings)


def graded(a: list[float], b: list[float], vectors: np.ndarray | None = None, held_out: int = 0) -> Pool:
    pool = make_pool([0.0] * len(a), held_out=held_out, vectors=vectors)
    tables = {
        name: PAIR_SCORES.frame({"pair_id": f"p{i:03}", "score": value} for i, value in enumerate(values))
        for name, values in (("a", a), ("b", b))
    }
    return replace(pool, scores=tables)


def test_promises() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(40).tolist(), rng.random(40).tolist()
    a[3] = b[7] = 0.0
    for budget in (1, "40%", 30):
        for threshold in (0.2, 0.9):
            assert_promises(product(budget=budget, threshold=threshold), graded(a, b, held_out=6))
            assert_promises(
                product(budget=budget, threshold=threshold, fill=False), graded(a, b, held_out=6), short=True
            )
    assert_promises(product(budget=8), graded([1.0] * 12, [1.0] * 12, np.ones((12, 4))))


def test_the_best_products_that_differ_are_kept() -> None:
    vectors = np.array([[1, 0], [1, 0.01], [0, 1], [-1, 0]])
    pool = graded([0.9, 1.0, 0.5, 0.5], [0.9, 0.8, 0.5, 0.4], vectors)  # .81, .8, .25, .2
    decisions = product(budget=2).select(pool)
    assert selected(decisions) == ["p000", "p002"]
    assert decisions["score"].to_list() == pytest.approx([0.81, 0.8, 0.25, 0.2])
    assert decisions["reason"][1].startswith("redundant: cosine 1.0")
    assert decisions["reason"][3] == "below_cut: the budget was reached before it"


def test_a_zero_factor_removes_a_pair() -> None:
    pool = graded([1.0, 0.0, 0.5], [0.1, 1.0, 0.1])
    decisions = product(budget=2, threshold=1.0).select(pool)
    assert selected(decisions) == ["p000", "p002"]
    assert decisions["reason"][1] == "zero_factor: a factor is 0"
    with pytest.raises(ValueError, match="budget of 3 pairs, but only 2 of 3 train pairs have a product above 0"):
        product(budget=3).select(pool)


def test_what_fills_up_is_the_best_of_the_redundant() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    pool = graded([1.0, 0.7, 0.8, 0.1], [1.0] * 4, vectors)
    decisions = product(budget=3).select(pool)
    assert selected(decisions) == ["p000", "p003", "p002"]
    assert decisions["reason"][2] == "filled: cosine 1.0 to p000"
    assert selected(product(budget=3, fill=False).select(pool)) == ["p000", "p003"]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"1 of 2 pairs have 'score' outside \[0, 1\] in scores 'a'"):
        product(budget=1).select(graded([1.5, 0.5], [1.0, 1.0]))
    with pytest.raises(ValueError, match="1 of 2 pairs have no usable 'score' in scores 'b'"):
        product(budget=1).select(graded([0.5, 0.5], [1.0, np.nan]))
    with pytest.raises(ValueError, match="budget of 3 pairs, but only 2 candidates"):
        product(budget=3).select(graded([0.5, 0.5], [1.0, 1.0]))
    pool = graded([0.5, 0.5], [1.0, 1.0])
    pool.embeddings["minilm"].ids[1] = "elsewhere"
    with pytest.raises(ValueError, match="1 ids have no embedding"):
        product(budget=1).select(pool)
