import numpy as np
import pytest
from polars.testing import assert_frame_equal

from pref_assets.clustering import ProjectedGradients
from pref_assets.features.pair_head import HeadTraining, sides_of
from pref_assets.features.projected_gradients import projected_gradients, projection
from pref_assets_tests.clustering.pools import preferences, vector_pool

TRAINING = HeadTraining(hidden=8, epochs=3, batch=50)


def test_the_projection_keeps_cosines() -> None:
    """Card 22: at 1024 dimensions the error of a cosine is below .1 for 95 % of pairs of gradients."""
    chosen, rejected, _ = preferences(300, d=64)
    pool = vector_pool(chosen, rejected)
    found = projected_gradients(pool.pairs, pool.embeddings["e"], HeadTraining(batch=50), 1024, 0)
    sides = sides_of(pool.pairs, pool.embeddings["e"])
    *_, head = HeadTraining(batch=50).run(found.ids, sides, 0)
    exact = head.gradients(sides)
    assert exact.shape == (300, 16 * 64 + 16)
    cosines = [m @ m.T for m in (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (exact, found.matrix))]
    errors = np.abs(cosines[0] - cosines[1])[np.triu_indices(300, 1)]
    assert np.quantile(errors, 0.95) < 0.1
    assert np.abs(np.linalg.norm(found.matrix, axis=1) / np.linalg.norm(exact, axis=1) - 1).max() < 0.2


def test_the_projection_is_orthogonal_on_average() -> None:
    signs = projection(300, 2000, seed=1)
    gram = signs @ signs.T
    np.testing.assert_allclose(np.diag(gram), 1, atol=1e-5)
    assert np.abs(gram - np.diag(np.diag(gram))).mean() < 0.03
    assert (projection(300, 2000, seed=1) == signs).all()


def settings(**more: object) -> ProjectedGradients:
    fields = {"embeddings": "e", "k": 5, "dimensions": 64, "training": TRAINING.model_dump(), **more}
    return ProjectedGradients.model_validate(fields)


def test_every_pair_has_a_cluster_whatever_the_row_order() -> None:
    chosen, rejected, _ = preferences(300)
    found = [settings().cluster(vector_pool(chosen, rejected, held_out=40, shuffle=seed)) for seed in (None, 1)]
    assert found[0].assignments["id"].to_list() == [f"p{i:05}" for i in range(300)]
    assert found[0].centroids["size"].sum() == 300
    assert_frame_equal(found[0].assignments, found[1].assignments)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, rejected, _ = preferences(100)
    pool = vector_pool(chosen, rejected)
    whole = projected_gradients(pool.pairs, pool.embeddings["e"], TRAINING, 32, 0).matrix
    monkeypatch.setattr("pref_assets.features.projected_gradients.BLOCK_BYTES", 4 * 8 * 17 * 7)
    np.testing.assert_allclose(
        projected_gradients(pool.pairs, pool.embeddings["e"], TRAINING, 32, 0).matrix, whole, atol=1e-6
    )


def test_pairs_on_two_topics_are_told_apart() -> None:
    """Two topics whose vectors are orthogonal move different weights."""
    chosen, rejected, _ = preferences(400, d=8)
    topic = np.arange(400) % 2
    spread = [np.concatenate([side * (topic == t)[:, None] for t in (0, 1)], axis=1) for side in (chosen, rejected)]
    pool = vector_pool(*spread)
    vectors = settings(dimensions=256).space(pool)
    cosines = vectors.matrix @ vectors.matrix.T
    same = topic[:, None] == topic[None]
    # Between topics only the output layer is shared; within a topic the hidden layer is, too.
    assert np.abs(cosines[same]).mean() > 1.3 * np.abs(cosines[~same]).mean()


def test_a_pair_of_equal_sides_has_no_gradient() -> None:
    chosen, rejected, _ = preferences(100)
    rejected[0] = chosen[0]
    pool = vector_pool(chosen, rejected)
    found = settings().space(pool)
    assert not found.matrix[0].any()
    assert settings().cluster(pool).assignments["cluster"].null_count() == 0


def test_more_clusters_than_gradients_is_an_error() -> None:
    chosen, rejected, _ = preferences(20)
    with pytest.raises(ValueError, match="k=30, but only 20 distinct vectors among 20; lower k"):
        settings(k=30).cluster(vector_pool(chosen, rejected))
