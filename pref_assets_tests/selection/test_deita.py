from typing import Any

import numpy as np
import pytest

from pref_assets.selection import Budget, Deita
from pref_assets.selection.deita import KEPT, REDUNDANT, UNSEEN, greedy_filter
from pref_assets_tests.selection.pools import make_pool, selected


def deita(**settings: Any) -> Deita:
    return Deita(quality="strength", embeddings="minilm", **settings)


def chain() -> np.ndarray:
    """Unit vectors A, B, C with cosines A-B .95, B-C .95, A-C .85."""
    return np.linalg.cholesky(np.array([[1, 0.95, 0.85], [0.95, 1, 0.95], [0.85, 0.95, 1]])).astype(np.float32)


def naive(vectors: np.ndarray, count: int, threshold: float) -> list[int]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    kept: list[int] = []
    for row in range(len(unit)):
        if len(kept) < count and all(unit[row] @ unit[other] <= threshold for other in kept):
            kept.append(row)
    return kept


@pytest.mark.parametrize("block", [1, 2, 1024])
def test_a_row_near_only_to_a_rejected_row_is_kept(block: int) -> None:
    """The oracle of the method: the sequential filter keeps {A, C}; rejecting within a batch would keep {A}."""
    pool = make_pool([3.0, 2.0, 1.0], vectors=chain())
    decisions = deita(budget=2, block=block).select(pool)
    assert selected(decisions) == ["p000", "p002"]
    assert decisions["reason"][1] == "redundant: cosine 0.95 to p000"


@pytest.mark.parametrize("block", [1, 7, 64, 1024])
@pytest.mark.parametrize(("count", "threshold"), [(1000, 0.3), (150, 0.3), (1000, -0.1), (1, 0.9), (1000, 1.0)])
def test_blocks_equal_the_definition(block: int, count: int, threshold: float) -> None:
    vectors = np.random.default_rng(5).normal(size=(1000, 16)).astype(np.float32)
    state, near, cosine = greedy_filter(vectors, count, threshold, block)
    kept = naive(vectors, count, threshold)
    assert np.flatnonzero(state == KEPT).tolist() == kept

    last = kept[-1] if len(kept) == count else len(vectors) - 1
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for row in np.flatnonzero(state != KEPT).tolist():
        if row > last:
            assert (state[row], near[row], cosine[row]) == (UNSEEN, -1, 0)
            continue
        first = next(other for other in kept if unit[row] @ unit[other] > threshold)
        assert (state[row], near[row]) == (REDUNDANT, first)
        assert first < row
        assert cosine[row] == pytest.approx(unit[row] @ unit[first], abs=1e-6)


def test_many_kept_rows_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(6).normal(size=(600, 16)).astype(np.float32)
    whole = greedy_filter(vectors, 600, 0.4, 50)
    monkeypatch.setattr("pref_assets.selection.deita.KEPT_BLOCK", 9)
    for ours, parts in zip(whole, greedy_filter(vectors, 600, 0.4, 50), strict=True):
        np.testing.assert_allclose(ours, parts, atol=1e-6)


def test_the_best_of_the_redundant_fill_the_budget() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    decisions = deita(budget=3).select(make_pool([4.0, 2.0, 3.0, 1.0], vectors=vectors))
    assert selected(decisions) == ["p000", "p003", "p002"]
    assert decisions["reason"].to_list() == [
        "selected: best of those different enough",
        "redundant: cosine 1.0 to p000",
        "filled: cosine 1.0 to p000",
        "selected: best of those different enough",
    ]


def test_without_fill_it_stops_short() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    decisions = deita(budget=3, fill=False).select(make_pool([4.0, 2.0, 3.0, 1.0], vectors=vectors))
    assert selected(decisions) == ["p000", "p003"]


def test_at_threshold_one_it_is_the_top_of_the_list() -> None:
    same = np.random.default_rng(0).normal(size=(1, 384)).repeat(4, axis=0)
    pool = make_pool([0.5, 2.0, 1.0, 3.0], vectors=same)
    assert selected(deita(budget=Budget(count=2), threshold=1.0).select(pool)) == ["p003", "p001"]
    assert "budget was reached" in deita(budget=2, threshold=1.0).select(pool)["reason"][0]


def test_the_column_to_rank_by_can_be_chosen() -> None:
    pool = make_pool([3.0, 2.0, 1.0], p_correct=[0.1, 0.9, 0.5])
    assert selected(deita(budget=1, column="p_correct").select(pool)) == ["p001"]


def test_a_completion_without_a_vector_is_an_error() -> None:
    pool = make_pool([3.0, 2.0, 1.0])
    pool.embeddings["minilm"].ids[1] = "elsewhere"
    with pytest.raises(ValueError, match=r"1 ids have no embedding, e\.g\. \['c001'\]"):
        deita(budget=2).select(pool)


def test_a_vector_with_nan_is_an_error() -> None:
    pool = make_pool([3.0, 2.0, 1.0])
    pool.embeddings["minilm"].matrix[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"1 embeddings hold NaN or infinite values, e\.g\. \['c002'\]"):
        deita(budget=2).select(pool)
