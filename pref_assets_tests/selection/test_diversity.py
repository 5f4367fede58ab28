"""k_center and facility_location against their definitions."""

from itertools import combinations

import numpy as np
import pytest

from pref_assets.selection import FacilityLocation, KCenter
from pref_assets.selection.coverage import cover, cover_dense
from pref_assets.selection.farthest import farthest_first
from pref_assets.selection.neighbours import nearest_in_cells
from pref_assets_tests.selection.pools import make_pool, selected


def plain_farthest(vectors: np.ndarray, count: int) -> tuple[list[int], list[float]]:
    """The definition: measure every row against every pick."""
    nearest = np.full(len(vectors), np.inf)
    picks, radius = [0], [np.inf]
    while len(picks) < count:
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[picks[-1]], axis=1))
        nearest[picks] = -1
        picks.append(int(nearest.argmax()))
        radius.append(float(nearest.max()))
    return picks, radius


def plain_cover(similarity: np.ndarray, count: int) -> list[int]:
    covered = np.zeros(len(similarity))
    picks: list[int] = []
    for _ in range(count):
        gains = np.maximum(similarity - covered, 0).sum(axis=1)
        gains[picks] = -1
        picks.append(int((gains >= gains.max() - 1e-6).argmax()))  # float32 cannot tell nearer ones apart
        covered = np.maximum(covered, similarity[picks[-1]])
    return picks


def objective(similarity: np.ndarray, picks: list[int]) -> float:
    return float(similarity[picks].max(axis=0).sum())


def unit(n: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("batch", [1, 2, 33, 1024])
@pytest.mark.parametrize(("n", "width", "count"), [(300, 4, 300), (700, 24, 350), (40, 2, 1)])
def test_lazy_traversal_equals_the_plain_one(n: int, width: int, count: int, batch: int) -> None:
    vectors = np.random.default_rng(n).normal(size=(n, width)).astype(np.float32)
    picks, radius = farthest_first(vectors, count, batch)
    expected, distances = plain_farthest(vectors.astype(np.float64), count)
    assert picks.tolist() == expected
    np.testing.assert_allclose(radius, distances, atol=2e-3)
    assert (np.diff(radius[1:]) <= 1e-6).all()


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_ties_go_to_the_first_row(batch: int) -> None:
    grid = np.array([[x, y] for x in range(9) for y in range(9)], dtype=np.float32)
    picks, _ = farthest_first(grid, 81, batch)
    assert picks.tolist() == plain_farthest(grid.astype(np.float64), 81)[0]


def test_pairwise_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(600, 6, 3)
    whole, _ = farthest_first(vectors, 300, 256)
    monkeypatch.setattr("pref_assets.selection.farthest.PAIRWISE", 3)
    monkeypatch.setattr("pref_assets.selection.farthest.CENTRES", 7)
    assert farthest_first(vectors, 300, 256)[0].tolist() == whole.tolist()


def test_copies_of_what_was_taken_come_last() -> None:
    vectors = np.repeat(unit(20, 5, 0), 30, axis=0)
    picks, radius = farthest_first(vectors, 100, 16)
    assert len({row // 30 for row in picks[:20].tolist()}) == 20
    assert (radius[20:] == 0).all()
    assert len(set(picks.tolist())) == 100
    same = np.ones((50, 3), dtype=np.float32)
    assert farthest_first(same, 50, 8)[0].tolist() == list(range(50))


def test_the_radius_is_at_most_twice_the_best() -> None:
    """Gonzalez's bound, against every choice of three centres."""
    for seed in range(5):
        vectors = unit(14, 3, seed)
        distance = np.linalg.norm(vectors[:, None] - vectors, axis=2)
        picks, _ = farthest_first(vectors, 3, 4)
        best = min(distance[list(each)].min(axis=0).max() for each in combinations(range(14), 3))
        assert distance[picks].min(axis=0).max() <= 2 * best + 1e-6


def test_k_center_takes_the_corners_first() -> None:
    square = np.array([[0, 0], [10, 0], [0, 9], [10, 9], [1, 1], [9, 1]], dtype=np.float32)
    pool = make_pool([0.0] * 6, vectors=square)
    for seed in range(6):
        method = KCenter(embeddings="minilm", budget=4, seed=seed, normalize=False)
        decisions = method.select(pool)
        first = int(selected(decisions)[0][1:])
        if first < 4:
            assert sorted(selected(decisions)) == ["p000", "p001", "p002", "p003"]
            assert decisions["reason"][4].startswith("covered: within 9.0000 of")
    assert {selected(KCenter(embeddings="minilm", budget=1, seed=seed).select(pool))[0] for seed in range(60)} == {
        f"p{i:03}" for i in range(6)
    }


@pytest.mark.parametrize(("n", "width", "count"), [(200, 8, 200), (300, 3, 60), (30, 30, 1)])
def test_gains_kept_up_to_date_equal_the_plain_greedy(n: int, width: int, count: int) -> None:
    vectors = unit(n, width, n)
    similarity = np.maximum(vectors @ vectors.T, 0)
    picks, gains = cover_dense(similarity, count)
    assert picks[:60].tolist() == plain_cover(similarity.astype(np.float64), min(60, count))
    assert gains.sum() == pytest.approx(objective(similarity, picks.tolist()), rel=1e-6)
    assert (np.diff(gains) <= 1e-6).all()


def test_greedy_is_within_its_bound_of_the_best() -> None:
    for seed in range(8):
        vectors = unit(13, 3, seed)
        similarity = np.maximum(vectors @ vectors.T, 0)
        best = max(objective(similarity, list(each)) for each in combinations(range(13), 4))
        ours = objective(similarity, cover_dense(similarity, 4)[0].tolist())
        assert (1 - 1 / np.e) * best <= ours <= best + 1e-6


def test_all_neighbours_are_the_dense_objective() -> None:
    vectors = unit(250, 6, 1)
    similarity = np.maximum(vectors @ vectors.T, 0)
    rows, similar = nearest_in_cells(vectors, 250, 1000, 0)
    picks, gains = cover(rows, similar, 40)
    assert sorted(rows[7].tolist()) == list(range(250))
    np.testing.assert_allclose(similar[7], similarity[7, rows[7]], atol=1e-6)
    assert set(picks.tolist()) == set(cover_dense(similarity, 40)[0].tolist())
    assert gains.sum() == pytest.approx(objective(similarity, picks.tolist()), rel=1e-6)


def test_sparse_gains_are_those_of_the_sparse_objective() -> None:
    vectors = unit(250, 6, 1)
    rows, similar = nearest_in_cells(vectors, 9, 1000, 0)
    sparse = np.zeros((250, 250))
    sparse[np.arange(250)[:, None], rows] = similar
    picks, gains = cover(rows, similar, 50)
    assert picks.tolist() == plain_cover(sparse.T, 50)
    assert gains.sum() == pytest.approx(sparse[:, picks].max(axis=1).sum(), rel=1e-6)


def test_neighbours_are_the_nearest_and_first_itself() -> None:
    centres = unit(10, 16, 2)
    rng = np.random.default_rng(0)
    vectors = (centres[rng.integers(10, size=500)] + 0.1 * rng.normal(size=(500, 16))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, similar = nearest_in_cells(vectors, 10, 4, 0)
    exact = np.argsort(-(vectors @ vectors.T), axis=1)[:, :10]
    assert (rows[:, 0] == np.arange(500)).all()
    found = [len(set(a) & set(b)) for a, b in zip(rows.tolist(), exact.tolist(), strict=True)]
    assert np.mean(found) > 9.5
    assert (np.diff(similar, axis=1) <= 0).all()
    few, cosines = nearest_in_cells(vectors[:3], 5, 1, 0)
    assert [sorted(set(each)) for each in few.tolist()] == [[0, 1, 2]] * 3
    assert (cosines[:, 3:] == 0).all()


def _gains_by_hand(angles: np.ndarray) -> list[float]:
    """What 10 degrees adds after 90 degrees was taken, and what 90 degrees adds alone."""
    first, second = (np.maximum(np.cos(angles - angle), 0) for angle in np.deg2rad([90, 10]))
    return [float(np.maximum(second - first, 0).sum()), float(first.sum())]


def test_facility_location_takes_the_middle_of_each_group() -> None:
    angles = np.deg2rad([0, 10, 20, 90, 100, 110, 120])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    decisions = FacilityLocation(embeddings="minilm", budget=2).select(make_pool([0.0] * 7, vectors=vectors))
    assert selected(decisions) == ["p003", "p001"]  # cosines sum to 4.33 at 90 degrees, more than anywhere else
    assert decisions["score"].drop_nulls().to_list() == pytest.approx(_gains_by_hand(angles), abs=1e-6)
    assert decisions.filter("selected")["reason"].str.starts_with("selected: adds ").all()
