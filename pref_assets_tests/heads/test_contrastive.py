"""Contrastive losses by hand, and the head that adds them."""

from typing import Any

import numpy as np
import pytest
import torch

from pref_assets.heads.contrastive import ContrastiveBt, info_nce, sinkhorn, swapped_prediction
from pref_assets.heads.network import Mlp
from pref_assets_tests.heads.toys import planted, swapped


def head(**settings: Any) -> ContrastiveBt:
    return ContrastiveBt(**{"embeddings": "e", "network": Mlp(hidden=(32,), epochs=15), "width": 16, **settings})


def test_info_nce_by_hand() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    # Each row is its own other look: cosines 1 and 0, so the loss is log(1 + e^(-1/T)).
    assert info_nce(one, 3 * one, 0.5).tolist() == pytest.approx([np.log1p(np.exp(-2))] * 2)
    assert info_nce(one, one.flip(0), 0.5).tolist() == pytest.approx([np.log1p(np.exp(2))] * 2, rel=1e-6)
    # Looks that are all alike tell nothing apart.
    assert info_nce(torch.ones(4, 3), torch.ones(4, 3), 0.05).tolist() == pytest.approx([np.log(4)] * 4, rel=1e-6)


def test_sinkhorn_spreads_rows_over_columns() -> None:
    scores = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    found = sinkhorn(scores + torch.tensor([3.0, 0, 0, 0, 0]), 0.5, rounds=50)
    assert found.sum(1).tolist() == pytest.approx([1] * 60, rel=1e-5)
    assert found.sum(0).tolist() == pytest.approx([12] * 5, rel=1e-3)


def test_swapped_prediction_is_symmetric_and_rewards_agreement() -> None:
    draws = torch.Generator().manual_seed(1)
    directions = torch.nn.functional.normalize(torch.randn(4, 6, generator=draws), dim=1)
    one, other = torch.randn(20, 6, generator=draws), torch.randn(20, 6, generator=draws)
    there = swapped_prediction(one, other, directions, 0.1, 0.05)
    assert there.tolist() == pytest.approx(swapped_prediction(other, one, directions, 0.1, 0.05).tolist())
    assert float(swapped_prediction(one, one, directions, 0.1, 0.05).mean()) < float(there.mean())


@pytest.mark.parametrize("contrast", ["simcse", "swav"])
def test_the_reward_is_learned_with_either_loss(contrast: str) -> None:
    pool, _ = planted(600, 8, seed=0, held_out=400)
    test = pool.pairs.filter(split="test")
    method = head(contrast=contrast)
    fitted = method.fit(pool, pool.candidates())
    found = fitted.predict(pool, test)
    assert (found.margin > 0).mean() > 0.88
    assert fitted.predict(pool, swapped(test)).margin == pytest.approx(-found.margin, abs=1e-12)
    again = method.restore(fitted.arrays()).predict(pool, test)
    assert np.array_equal(again.margin, found.margin)
    assert np.array_equal(method.fit(pool, pool.candidates()).predict(pool, test).margin, found.margin)


def test_beta_turns_the_contrast_on() -> None:
    pool, _ = planted(100, 6, seed=1)
    margins = [head(beta=beta).fit(pool, pool.pairs).predict(pool, pool.pairs).margin for beta in (0.0, 0.0, 1.0)]
    assert np.array_equal(margins[0], margins[1])
    assert not np.allclose(margins[0], margins[2])
    plain = [head(beta=0, contrast=each).fit(pool, pool.pairs) for each in ("simcse", "swav")]
    assert np.array_equal(*(each.predict(pool, pool.pairs).margin for each in plain))


def test_no_pair_is_an_error() -> None:
    pool, _ = planted(5, 3, seed=0)
    with pytest.raises(ValueError, match="no pair to learn from"):
        head().fit(pool, pool.pairs.clear())
