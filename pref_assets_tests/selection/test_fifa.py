from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.selection import Fifa
from pref_assets.selection.fifa import scaled
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool, selected


def fifa(k: int = 2, **settings: Any) -> Fifa:
    return Fifa(**{"margin": "strength", "neighbours": {"embeddings": "minilm", "k": k, "unit": False}, **settings})


def with_quality(pool: Pool, values: list[float]) -> Pool:
    table = PAIR_SCORES.frame({"pair_id": f"p{i:03}", "score": value} for i, value in enumerate(values))
    return replace(pool, scores={**pool.scores, "quality": table})


def test_promises() -> None:
    rng = np.random.default_rng(0)
    pool = with_quality(make_pool(rng.normal(size=30).tolist(), held_out=5), rng.random(35).tolist())
    for budget in (1, "30%", 1.0):
        for normalize in ("minmax", "zscore", "none"):
            assert_promises(fifa(budget=budget, quality="quality", alpha=0.5, normalize=normalize), pool)
    assert_promises(fifa(budget=5), make_pool([1.0] * 12, vectors=np.ones((12, 4))))


def test_the_blob_of_the_card() -> None:
    """300 prompts that nearly repeat each other and 100 spread out, at random margins, budget 40: diversity turns the
    share of picks from the blob from the base rate to none, and costs mean margin (1.92 to 1.33 on the card)."""
    rng = np.random.default_rng(0)
    vectors = np.concatenate([0.01 * rng.normal(size=(300, 8)), 3 * rng.normal(size=(100, 8))])
    margins = np.abs(rng.normal(size=400))
    pool = make_pool(margins.tolist(), vectors=vectors)
    plain, diverse = (
        [int(each[1:]) for each in selected(fifa(k=5, gamma=gamma, budget=40).select(pool))] for gamma in (0.0, 1.0)
    )
    assert 0.6 < np.mean([row < 300 for row in plain]) < 0.9
    assert sorted(plain) == sorted(np.argsort(-margins)[:40].tolist())
    assert all(row >= 300 for row in diverse)
    assert margins[plain].mean() > 1.5 > margins[diverse].mean()


def test_without_weights_it_is_the_top_of_the_margins() -> None:
    pool = make_pool([0.5, -3.0, 1.0, 2.0])
    assert selected(fifa(gamma=0.0, budget=2).select(pool)) == ["p001", "p003"]
    assert selected(fifa(gamma=0.0, budget=2, absolute=False).select(pool)) == ["p003", "p002"]


def test_an_affine_change_of_a_term_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    margins, quality = rng.random(40), rng.random(40)
    vectors = rng.normal(size=(40, 4))
    method = fifa(quality="quality", alpha=0.7, gamma=0.4, budget=10)
    plain = method.select(with_quality(make_pool(margins.tolist(), vectors=vectors), quality.tolist()))
    bent = method.select(
        with_quality(make_pool((5 * margins + 3).tolist(), vectors=vectors), (0.1 * quality - 9).tolist())
    )
    assert selected(bent) == selected(plain)


def test_a_sum_by_hand() -> None:
    vectors = np.array([[0, 0], [0, 1], [0, 3]])  # nearest neighbours 1, 1 and 2 away
    pool = with_quality(make_pool([1.0, 3.0, 2.0], vectors=vectors), [4.0, 2.0, 2.0])
    decisions = fifa(k=1, quality="quality", alpha=0.5, gamma=2.0, budget=1).select(pool)
    assert decisions["score"].to_list() == pytest.approx([0.5, 1, 2.5])
    assert decisions["reason"].to_list() == [
        "below_cut: margin 0.0 + quality 0.5 + diversity 0.0",
        "below_cut: margin 1.0 + quality 0.0 + diversity 0.0",
        "selected: margin 0.5 + quality 0.0 + diversity 2.0",
    ]


def test_scales() -> None:
    values = np.array([1.0, 2.0, 5.0])
    assert scaled(values, "minmax").tolist() == [0, 0.25, 1]
    assert scaled(values, "zscore").std() == pytest.approx(1)
    assert scaled(values, "none").tolist() == [1, 2, 5]
    assert scaled(np.full(3, 7.0), "minmax").tolist() == scaled(np.full(3, 7.0), "zscore").tolist() == [0, 0, 0]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="`quality` and a positive `alpha` come together"):
        fifa(budget=1, alpha=1.0)
    with pytest.raises(ValueError, match="`quality` and a positive `alpha` come together"):
        fifa(budget=1, quality="quality")
    with pytest.raises(ValueError, match="2 train pairs are too few for a 2-th nearest neighbour"):
        fifa(budget=1).select(make_pool([1.0, 2.0]))
    with pytest.raises(ValueError, match="1 of 4 train pairs have no usable 'score' in scores 'strength'"):
        fifa(budget=1).select(make_pool([1.0, 2.0, np.nan, 1.0]))
    with pytest.raises(ValueError, match="budget of 5 pairs, but only 4 candidates"):
        fifa(budget=5).select(make_pool([1.0, 2.0, 3.0, 4.0]))
    pool = make_pool([1.0, 2.0, 3.0, 4.0])
    pool.embeddings["minilm"].matrix[1, 0] = np.inf
    with pytest.raises(ValueError, match="1 embeddings hold NaN"):
        fifa(budget=1).select(pool)
