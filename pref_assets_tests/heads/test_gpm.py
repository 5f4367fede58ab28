"""Preference embeddings: circles that no reward can rank, and the reward model that they contain."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pref_assets.heads.gpm import Gpm
from pref_assets.heads.skew import curl_share, cyclic_share
from pref_assets.scoring.logistic import fit_heads
from pref_assets_tests.heads.toys import planted, pool_of, swapped

CIRCLE = [{"chosen": i, "rejected": (i + 1) % 3, "prompt_id": "q"} for i in range(3)]


def head(**settings: Any) -> Gpm:
    return Gpm(embeddings="e", **settings)


def test_a_circle_is_learned_where_a_reward_gets_two_of_three() -> None:
    pool = pool_of(np.eye(3), CIRCLE)
    fitted = head(dim=2, tau=1.0, gate=False, l2=1e-4).fit(pool, pool.pairs)
    margins = fitted.predict(pool, pool.pairs).margin
    assert (margins > 0.8).all()
    scores = fitted.preferences(pool, ["c00000", "c00001", "c00002"])
    assert margins == pytest.approx([scores[0, 1], scores[1, 2], scores[2, 0]])
    assert cyclic_share(scores) == 1.0
    assert curl_share(scores) > 0.9
    reward = head(dim=2, tau=1.0, gate=False, unit_length=False, second="frozen", l2=1e-4).fit(pool, pool.pairs)
    flat = reward.predict(pool, pool.pairs).margin
    # Margins of a reward add up to zero around a circle, so the best loss is log 2 with all at zero.
    assert flat == pytest.approx([0, 0, 0], abs=1e-4)


def test_one_frozen_block_is_bradley_terry_exactly() -> None:
    pool, _ = planted(150, 6, seed=1)
    one = head(dim=2, tau=1.0, gate=False, unit_length=False, second="frozen", max_steps=500).fit(pool, pool.pairs)
    vectors = pool.embeddings["e"]
    x = vectors.rows(pool.pairs["chosen_id"].to_list()) - vectors.rows(pool.pairs["rejected_id"].to_list())
    w = fit_heads(x.astype(float), np.ones(150), np.ones((150, 1)), l2=1.0)[:, 0]
    assert one.map[0] == pytest.approx(w, abs=1e-5)
    assert one.predict(pool, pool.pairs).margin == pytest.approx(x @ w, abs=1e-4)


def test_a_linear_reward_is_learned_too() -> None:
    pool, _ = planted(600, 8, seed=2, held_out=600)
    fitted = head().fit(pool, pool.candidates())
    test = pool.pairs.filter(split="test")
    assert (fitted.predict(pool, test).margin > 0).mean() > 0.9


@pytest.mark.parametrize("settings", [{}, {"gate": False}, {"unit_length": False}, {"dim": 2}])
def test_swapping_the_sides_flips_the_margin(settings: dict[str, Any]) -> None:
    pool, _ = planted(60, 4, seed=3)
    fitted = head(max_steps=20, **settings).fit(pool, pool.pairs)
    there, back = fitted.predict(pool, pool.pairs), fitted.predict(pool, swapped(pool.pairs))
    assert np.array_equal(there.margin, -back.margin)
    assert (there.details["largest_block"] >= 1 / (fitted.config.dim // 2) - 1e-12).all()
    assert there.score_chosen is None


def test_gate_turns_the_circle_with_the_prompt() -> None:
    """Two prompts whose circles run in opposite directions: without the gate, blocks would have to tell them apart."""
    rng = np.random.default_rng(0)
    hint = np.repeat(np.eye(2), 3, axis=0) * 3
    matrix = np.concatenate([np.tile(np.eye(3), (2, 1)), hint], axis=1) + 0.01 * rng.normal(size=(6, 5))
    rows = [{"chosen": i, "rejected": (i + 1) % 3} for i in range(3)]
    rows += [{"chosen": 3 + (i + 1) % 3, "rejected": 3 + i} for i in range(3)]
    pool = pool_of(matrix, rows)
    fitted = head(dim=4, tau=0.5, l2=1e-3).fit(pool, pool.pairs)
    assert (fitted.predict(pool, pool.pairs).margin > 0.5).all()


def test_saved_arrays_are_the_same_head() -> None:
    pool, _ = planted(40, 4, seed=4)
    for settings in ({}, {"gate": False}):
        one = head(max_steps=10, **settings)
        fitted = one.fit(pool, pool.pairs)
        again = one.restore(fitted.arrays())
        assert np.array_equal(fitted.predict(pool, pool.pairs).margin, again.predict(pool, pool.pairs).margin)
        twice = one.fit(pool, pool.pairs)
        assert np.array_equal(fitted.map, twice.map)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValidationError, match="take an even number"):
        head(dim=3)
    pool, _ = planted(10, 4, seed=5)
    with pytest.raises(ValueError, match="no pair to learn from"):
        head().fit(pool, pool.pairs.clear())
    fitted = head(max_steps=2).fit(pool, pool.pairs)
    wider, _ = planted(10, 5, seed=5)
    with pytest.raises(ValueError, match="reads vectors of width 4"):
        fitted.predict(wider, wider.pairs)
