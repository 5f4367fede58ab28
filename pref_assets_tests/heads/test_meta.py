"""The step up before the step down: slopes by hand, what it reduces to, and whose answers it reads."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pref_assets.heads.meta import MetaBt, difference_loss, difference_slope
from pref_assets.pairs.schema import COMPLETIONS
from pref_assets.pool import Pool
from pref_assets.scoring.logistic import fit_heads
from pref_assets_tests.heads.toys import planted, swapped


def head(**settings: Any) -> MetaBt:
    return MetaBt(**{"embeddings": "e", "models": ("policy",), **settings})


def with_models(pool: Pool, share: float = 0.5) -> Pool:
    """The first completions are by `policy`, four to a prompt, the others by `base`."""
    ids = pool.completions["completion_id"].to_list()
    rows = [
        {"completion_id": id_, "prompt_id": f"r{i // 4:04}", "messages": [],
         "model": "policy" if i < share * len(ids) else "base"}
        for i, id_ in enumerate(ids)
    ]  # fmt: skip
    return replace(pool, completions=COMPLETIONS.frame(rows))


def test_the_slope_is_that_of_the_difference_loss() -> None:
    rng = np.random.default_rng(0)
    w, fresh = rng.normal(size=5), rng.normal(size=(30, 5))
    slope = difference_slope(w, fresh)
    for place in range(5):
        step = np.eye(5)[place] * 1e-6
        numeric = (difference_loss(w + step, fresh) - difference_loss(w - step, fresh)) / 2e-6
        assert slope[place] == pytest.approx(numeric, abs=1e-8)
    assert difference_loss(np.zeros(5), fresh) == 0.5
    assert difference_loss(np.array([2.0]), np.array([[1.0]])) == pytest.approx(1 / (1 + np.exp(-2)))
    up = w + 0.1 * slope
    assert difference_loss(up, fresh) > difference_loss(w, fresh)


def test_without_the_inner_step_it_is_bradley_terry() -> None:
    pool, _ = planted(300, 4, seed=1)
    pool = with_models(pool)
    found = head(inner_rate=0, epochs=1500, batch_pairs=300, learning_rate=0.1).fit(pool, pool.pairs)
    vectors = pool.embeddings["e"]
    x = vectors.rows(pool.pairs["chosen_id"].to_list()) - vectors.rows(pool.pairs["rejected_id"].to_list())
    w = fit_heads(x.astype(float), np.ones(300), np.ones((300, 1)), l2=1.0)[:, 0]
    assert found.arrays()["weights"] == pytest.approx(w, abs=0.05)


def test_the_reward_is_learned_and_the_inner_step_matters() -> None:
    pool, _ = planted(600, 8, seed=2, held_out=400)
    pool = with_models(pool)
    test = pool.pairs.filter(split="test")
    weights = []
    for rate in (0.0, 0.5):
        method = head(inner_rate=rate)
        fitted = method.fit(pool, pool.candidates())
        found = fitted.predict(pool, test)
        assert (found.margin > 0).mean() > 0.9
        assert fitted.predict(pool, swapped(test)).margin == pytest.approx(-found.margin)
        weights.append(fitted.arrays()["weights"])
        assert np.array_equal(method.restore(fitted.arrays()).predict(pool, test).margin, found.margin)
        assert np.array_equal(method.fit(pool, pool.candidates()).arrays()["weights"], weights[-1])
    assert not np.allclose(*weights)


def test_only_answers_of_the_named_models_are_read() -> None:
    pool, _ = planted(60, 4, seed=3)
    pool = with_models(pool)
    there = head(inner_rate=1.0, epochs=3).fit(pool, pool.pairs).arrays()["weights"]
    shuffled = replace(pool, completions=pool.completions.sample(fraction=1.0, shuffle=True, seed=1))
    assert np.array_equal(head(inner_rate=1.0, epochs=3).fit(shuffled, pool.pairs).arrays()["weights"], there)
    renamed = pl.when(pl.col("model") == "base").then(pl.lit("other")).otherwise("model")
    others = replace(pool, completions=pool.completions.with_columns(model=renamed))
    assert np.array_equal(head(inner_rate=1.0, epochs=3).fit(others, pool.pairs).arrays()["weights"], there)
    with pytest.raises(ValueError, match=r"by models \['nobody'\]; models of the completions: \['base', 'policy'\]"):
        head(models=("nobody",)).fit(pool, pool.pairs)
