from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from pref_assets.heads import GaussianMulti
from pref_assets.heads.gaussian import OVERALL, pooled, taught, tie_decompose
from pref_assets.heads.network import Mlp
from pref_assets.heads.ratings import dimension_labels
from pref_assets_tests.heads.rated import rated_pool

DIMENSIONS = ("style", "fact")
LINEAR = Mlp(hidden=(), learning_rate=1e-2)


def config(**settings: Any) -> GaussianMulti:
    return GaussianMulti(embeddings="e", dimensions=DIMENSIONS, **{"network": LINEAR, **settings})


def test_a_tie_whose_dimensions_disagree_is_a_pair_of_each() -> None:
    opposed = tie_decompose(np.subtract([[4, 1]], [[1, 4]]))
    assert (opposed.place.tolist(), opposed.dimension.tolist(), opposed.label.tolist()) == ([0, 0], [0, 1], [1, 0])
    assert len(tie_decompose(np.subtract([[4, 1]], [[4, 1]])).place) == 0
    assert len(tie_decompose([[1.0, 0.0], [2.0, 1.0], [1.0, float("nan")]]).place) == 0


def test_pooling_of_dimensions() -> None:
    mu, log_sigma = torch.tensor([[1.0, 3.0]]), torch.log(torch.tensor([[1.0, 4.0]]))
    assert [float(each) for each in pooled(mu, log_sigma, "mean")] == pytest.approx([2, 4])
    assert [float(each) for each in pooled(mu, log_sigma, "sum")] == pytest.approx([4, 17])


@pytest.mark.parametrize("settings", [{}, {"form": "exp_nll"}, {"quadrature": "mc", "points": 200}, {"pooling": "sum"}])
def test_each_dimension_is_learned_by_its_own_head(settings: dict[str, Any]) -> None:
    pool, planted = rated_pool(1250, DIMENSIONS)
    head = config(learn="dimensions", **settings).fit(pool, pool.candidates())
    test = pool.pairs.filter(split="test")
    said = head.predict(pool, test)
    assert said.uncertainty is not None
    assert (said.uncertainty > 0).all()
    left, right = (pool.embeddings["e"].rows(test[side].to_list()) @ planted for side in ("chosen_id", "rejected_id"))
    for k, name in enumerate(DIMENSIONS):
        assert (np.sign(said.details[name]) == np.sign(left - right)[:, k]).mean() > 0.9


def test_overall_labels_teach_the_pooled_heads() -> None:
    pool, _ = rated_pool(1250, DIMENSIONS)
    said = config(learn="overall").fit(pool, pool.candidates()).predict(pool, pool.pairs.filter(split="test"))
    assert (said.margin > 0).mean() > 0.9
    assert ((said.details["p_better"] > 0.5) == (said.margin > 0)).all()


def test_what_is_taught() -> None:
    pool, _ = rated_pool(60, DIMENSIONS)
    labels = dimension_labels(pool, pool.pairs, DIMENSIONS)
    opposed = labels[:, 0] != labels[:, 1]
    ties = pool.pairs.with_columns(p_chosen=pl.lit(0.5))
    overall = taught(config(learn="overall"), pool, ties)
    assert (overall.dimension == OVERALL).sum() == (~opposed).sum()
    assert len(overall.place) == (~opposed).sum() + 2 * opposed.sum()
    kept = taught(config(learn="overall", tie_decompose=False), pool, ties)
    assert set(kept.dimension) == {OVERALL}
    both = taught(config(), pool, pool.pairs)
    assert len(both.place) == 3 * 60


def test_votes_of_a_dimension_come_before_ratings() -> None:
    pool, _ = rated_pool(2, DIMENSIONS)
    vote = {"annotator": "a", "dimension": "fact", "choice": "tie", "strength": None, "rationale": None}
    pairs = pool.pairs.with_columns(votes=pl.Series([[vote], []], dtype=pool.pairs.schema["votes"]))
    labels = dimension_labels(pool, pairs, DIMENSIONS)
    assert labels[0, 1] == 0.5
    np.testing.assert_array_equal(labels[1], dimension_labels(pool, pool.pairs, DIMENSIONS)[1])
    assert labels[:, 0].tolist() == [1.0, 1.0]


def test_a_dimension_that_nobody_judged_is_an_error() -> None:
    pool, _ = rated_pool(20, DIMENSIONS[:1])
    with pytest.raises(ValueError, match="say anything of 'fact'"):
        config().fit(pool, pool.candidates())


def test_equal_inputs_give_equal_heads_that_come_back() -> None:
    pool, _ = rated_pool(200, DIMENSIONS)
    head = config()
    first, again = (head.fit(replace(pool), pool.candidates()) for _ in range(2))
    wanted = first.predict(pool, pool.pairs)
    np.testing.assert_array_equal(again.predict(pool, pool.pairs).margin, wanted.margin)
    restored = head.restore(first.arrays()).predict(pool, pool.pairs)
    np.testing.assert_array_equal(restored.uncertainty, wanted.uncertainty)
