import numpy as np
import pytest
from polars.testing import assert_frame_equal

from pref_assets.scoring import KnnEntropy
from pref_assets_tests.scoring.text.pools import detail, text_pool
from pref_assets_tests.selection.invariants import shuffled

POINTS = np.array([[0, 0], [0, 0.1], [3, 0], [0, 4]])


def test_the_card_s_points() -> None:
    pool = text_pool(["a"] * 4, vectors=POINTS)
    scores = KnnEntropy(embeddings="minilm", k=1, unit=False, guard=1e-9).score(pool)
    assert detail(scores, "distance") == pytest.approx([0.1, 0.1, 3, 3.9])
    assert scores["score"].to_list() == pytest.approx(np.log([0.1, 0.1, 3, 3.9]).tolist())


def test_held_out_pairs_are_measured_against_train_pairs() -> None:
    pool = text_pool(["a"] * 4, vectors=POINTS, splits=["train", "test", "train", "train"])
    scores = KnnEntropy(embeddings="minilm", k=1, unit=False).score(pool)
    assert detail(scores, "distance") == pytest.approx([3, 0.1, 3, 4])


def test_equal_vectors_have_a_number() -> None:
    pool = text_pool(["a"] * 4, vectors=np.ones((4, 3)))
    assert KnnEntropy(embeddings="minilm", k=2, guard=0.01).score(pool)["score"].to_list() == [np.log(0.01)] * 4


def test_row_order_does_not_matter() -> None:
    pool = text_pool(["a"] * 50, vectors=np.random.default_rng(0).normal(size=(50, 8)))
    method = KnnEntropy(embeddings="minilm", k=3, among=20)
    assert_frame_equal(method.score(pool), method.score(shuffled(pool, 2)), check_exact=True)


def test_bad_input() -> None:
    pool = text_pool(["a"] * 4, vectors=POINTS)
    with pytest.raises(ValueError, match="4 train pairs are too few for a 4-th nearest neighbour"):
        KnnEntropy(embeddings="minilm", k=4).score(pool)
    pool.embeddings["minilm"].matrix[1, 0] = np.nan
    with pytest.raises(ValueError, match="1 embeddings hold NaN"):
        KnnEntropy(embeddings="minilm", k=1).score(pool)
