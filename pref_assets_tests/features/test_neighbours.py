import numpy as np
import pytest

from pref_assets.features.neighbours import NearestNeighbours, kth_distances
from pref_assets_tests.selection.pools import make_pool


def test_the_card_s_points() -> None:
    points = np.array([[0, 0], [0, 0.1], [3, 0], [0, 4]], dtype=np.float32)
    np.testing.assert_allclose(kth_distances(points, points, np.arange(4), 1), [0.1, 0.1, 3, 3.9], rtol=1e-6)


@pytest.mark.parametrize("block", [1, 7, 512])
@pytest.mark.parametrize("k", [1, 5])
def test_they_equal_the_definition(block: int, k: int) -> None:
    rng = np.random.default_rng(0)
    points = (1000 + rng.normal(size=(120, 6))).astype(np.float32)
    queries = np.concatenate([points[40:80], rng.normal(size=(30, 6)).astype(np.float32)])
    own = np.concatenate([np.arange(40, 80), np.full(30, -1)])
    whole = np.linalg.norm(queries[:, None, :].astype(float) - points[None].astype(float), axis=2)
    whole[np.arange(40), own[:40]] = np.inf
    np.testing.assert_allclose(kth_distances(queries, points, own, k, block), np.sort(whole, axis=1)[:, k - 1])


def test_equal_points_are_0_apart() -> None:
    points = np.random.default_rng(0).normal(size=(1, 384)).astype(np.float32).repeat(30, axis=0)
    assert (kth_distances(points, points, np.arange(30), 3) == 0).all()


def test_too_few_points_are_an_error() -> None:
    points = np.zeros((3, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="3 vectors are too few for a 3-th nearest neighbour"):
        kth_distances(points, points, np.arange(3), 3)


def test_a_sample_to_look_among_does_not_depend_on_row_order() -> None:
    pool = make_pool([float(i) for i in range(60)])
    near = NearestNeighbours(embeddings="minilm", k=2, among=20)
    pairs, vectors = pool.pairs, pool.embeddings["minilm"]
    whole = near.distances(pairs, vectors)
    mixed = pairs.sample(fraction=1, shuffle=True, seed=1)
    again = dict(zip(mixed["pair_id"], near.distances(mixed, vectors), strict=True))
    assert [again[each] for each in pairs["pair_id"]] == whole.tolist()
    full = near.model_copy(update={"among": 60}).distances(pairs, vectors)
    assert (whole >= full).all()
    assert (whole > full).any()
