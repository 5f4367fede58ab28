"""What holds for every head of the union that pairs with ratings and votes can teach."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from pref_assets.heads import CrossFitted, Head, RewardModelConfig, load_reward_model
from pref_assets.heads.base import Predictions
from pref_assets.pool import Pool
from pref_assets_tests import sweep
from pref_assets_tests.heads.rated import rated_pool

ADAPTER: TypeAdapter = TypeAdapter(RewardModelConfig)
TINY = {"hidden": [8], "epochs": 20, "batch": 8, "learning_rate": 0.02}
DIMENSIONS = ["helpful", "honest"]
CONFIGS: dict[str, dict[str, Any]] = {
    "bt": {},
    "bt_margin": {"type": "bt", "loss": "margin"},
    "bt_network": {"type": "bt", "network": TINY},
    "clf_gb": {"trees": 10},
    "clf_mlp": {"network": TINY},
    "gaussian_multi": {"dimensions": DIMENSIONS, "network": TINY},
    "quantile": {"attributes": DIMENSIONS, "levels": [0.1, 0.5, 0.9], "gate": TINY},
    "regression_multi": {"weights": {"helpful": 1.0, "honest": 0.2}},
    "scaled_bt": {"dimension": "helpful"},
}
NAMES = sorted(CONFIGS)
ELSEWHERE = {
    "bradley_terry", "collaborative", "context", "feature_bt", "gpm", "orchestrated", "pal", "regret",
    "contrastive_bt", "meta_bt", "token_rm",
}  # fmt: skip
"""Types whose own tests say the same, as they need other data."""


@dataclass(frozen=True)
class World:
    pool: Pool

    def turned(self, seed: int) -> Pool:
        """The pool with its rows in another order."""
        frames = {
            name: getattr(self.pool, name).sample(fraction=1, shuffle=True, seed=seed)
            for name in ("pairs", "completions")
        }
        return replace(self.pool, **frames)


@cache
def world() -> World:
    return World(rated_pool(150, DIMENSIONS, noise=0.5)[0])


@cache
def head(name: str) -> Head:
    folds = {"cross_fit": {"folds": 2, "members": 2}}
    return ADAPTER.validate_python({"type": name, "embeddings": "e", **folds, **CONFIGS[name]})


@cache
def fitted(name: str) -> CrossFitted:
    return head(name).fit_all(world().pool)


def values(said: Predictions) -> dict[str, np.ndarray]:
    named = {"margin": said.margin, "chosen": said.score_chosen, "rejected": said.score_rejected}
    return {
        name: each for name, each in {**named, "spread": said.uncertainty, **said.details}.items() if each is not None
    }


def test_every_type_is_swept_here_or_elsewhere() -> None:
    types = {head(name).model_dump()["type"] for name in NAMES}
    assert sweep.types_of(RewardModelConfig) <= types | ELSEWHERE
    assert not types & ELSEWHERE


@pytest.mark.parametrize("name", NAMES)
def test_every_pair_has_finite_values_and_calibration(name: str) -> None:
    pool = world().pool
    for each in values(fitted(name).predict(pool, pool.pairs)).values():
        assert each.shape == (len(pool.pairs),)
        assert np.isfinite(each).all()
    spread = fitted(name).predict(pool, pool.pairs).uncertainty
    assert spread is not None
    assert (spread >= 0).all()
    metrics = fitted(name).metrics
    assert metrics["accuracy"] > 0.6
    assert 0 <= metrics["ece"] <= 0.3
    assert metrics["temperature"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_heads_come_back_as_they_were_saved(name: str, tmp_path: Path) -> None:
    fitted(name).save(tmp_path)
    loaded = load_reward_model(tmp_path)
    assert isinstance(loaded, CrossFitted)
    assert (loaded.config, loaded.metrics) == (head(name), fitted(name).metrics)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["head.json", "heads.safetensors"]
    pool = world().pool
    before, after = (values(each.predict(pool, pool.pairs)) for each in (fitted(name), loaded))
    for key, each in before.items():
        np.testing.assert_array_equal(after[key], each)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_rows_means_nothing(name: str) -> None:
    pool, other = world().pool, world().turned(1)
    first = values(fitted(name).predict(pool, pool.pairs))
    found = values(head(name).fit_all(other).predict(other, other.pairs.sort("pair_id")))
    for key, each in first.items():
        np.testing.assert_allclose(found[key], each, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_swapped_sides_turn_the_sign(name: str) -> None:
    pool = world().pool
    swapped = pool.pairs.rename({"chosen_id": "rejected_id", "rejected_id": "chosen_id"})
    margin, other = (fitted(name).predict(pool, pairs).margin for pairs in (pool.pairs, swapped))
    np.testing.assert_allclose(other, -margin, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_ratings_of_a_fold_do_not_reach_its_own_heads(name: str) -> None:
    pool = world().pool
    train = pool.candidates()
    mine = fitted(name).fold_of(train) == 0
    ids = [*train.filter(mine)["chosen_id"], *train.filter(mine)["rejected_id"]]
    ratings = pl.col("ratings").list.eval(pl.element().struct.with_fields(value=pl.lit(-3.0)))
    other = replace(
        pool,
        pairs=train.with_columns(p_chosen=pl.Series(np.where(mine, 0.0, 1.0))),
        completions=pool.completions.with_columns(
            ratings=pl.when(pl.col("completion_id").is_in(ids)).then(ratings).otherwise("ratings")
        ),
    )
    again = head(name).fit_all(other)
    before, after = (each.predict(pool, train).margin for each in (fitted(name), again))
    np.testing.assert_array_equal(before[mine], after[mine])
    assert (before[~mine] != after[~mine]).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_that_is_not_finite_is_named(name: str) -> None:
    pool = world().pool
    matrix = pool.embeddings["e"].matrix.copy()
    matrix[7] = np.nan
    broken = replace(pool, embeddings={"e": replace(pool.embeddings["e"], matrix=matrix)})
    with pytest.raises(ValueError, match="c00007"):
        head(name).fit_all(broken)
