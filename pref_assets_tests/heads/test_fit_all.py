"""Cross-fitting of heads: kept in a folder and back, in any row order, with all values finite."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from pref_assets.heads import RewardModelConfig, load_reward_model
from pref_assets.heads.base import Head, Predictions
from pref_assets.heads.crossfit import CrossFitted
from pref_assets.pairs.schema import COMPLETIONS, PROMPTS
from pref_assets.pool import Pool
from pref_assets_tests.heads.toys import pool_of

WIDTH, PAIRS = 5, 60
CROSS = {"folds": 2, "members": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "gpm": {"embeddings": "e", "dim": 4, "max_steps": 10},
    "pal": {"embeddings": "e", "max_steps": 10, "starts": 1},
    "orchestrated": {"embeddings": "e", "dimensions": ["v_start", "v_end"]},
    "feature_bt": {"knots": 2},
    "context": {"embeddings": "e", "rank": 2, "buckets": 16, "max_steps": 10},
    "regret": {"embeddings": "e"},
    "collaborative": {"embeddings": "e", "epochs": 2},
    "contrastive_bt": {"embeddings": "e", "width": 4, "network": {"hidden": [8], "epochs": 2}},
    "meta_bt": {"embeddings": "e", "models": ["policy"], "epochs": 2},
}
TYPES = sorted(CONFIGS)
"""`token_rm` needs a model; its own tests bring one."""


@cache
def world() -> Pool:
    """Pairs with votes, ratings, texts, contexts and models; two thirds of them train."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(2 * PAIRS, WIDTH))
    vote = {"annotator": "a", "dimension": "overall", "choice": "chosen"}
    rows = [
        {"chosen": i, "rejected": PAIRS + i, "prompt_id": f"q{i // 2:03}", "split": "train" if i % 3 else "test",
         "votes": [{**vote, "annotator": f"u{i % 4}"}], "p_chosen": 1.0 if i % 5 else 0.5}
        for i in range(PAIRS)
    ]  # fmt: skip
    completions = COMPLETIONS.frame(
        {
            "completion_id": f"c{i:05}",
            "prompt_id": f"q{i % PAIRS // 2:03}",
            "messages": [{"role": "assistant", "content": "word " * (1 + i % 7) + f"number {i}"}],
            "model": "policy",
            "ratings": [
                {"dimension": name, "value": float(matrix[i, k]), "annotator": "r"}
                for k, name in enumerate(("v_start", "v_end"))
            ],
        }
        for i in range(2 * PAIRS)
    )
    prompts = PROMPTS.frame(
        {"prompt_id": f"q{i:03}", "messages": [{"role": "user", "content": "Say a word"}], "context": f"want {i % 2}"}
        for i in range(PAIRS)
    )
    return pool_of(matrix, rows, completions=completions, prompts=prompts)


def made(kind: str) -> Head:
    found: Head = TypeAdapter(RewardModelConfig).validate_python({"type": kind, "cross_fit": CROSS, **CONFIGS[kind]})
    return found


@cache
def fitted(kind: str) -> CrossFitted:
    return made(kind).fit_all(world())


def same(one: Predictions, other: Predictions) -> None:
    assert np.array_equal(one.margin, other.margin)
    for name in ("score_chosen", "score_rejected", "uncertainty"):
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None)
        assert left is None or np.array_equal(left, right)
    assert one.details.keys() == other.details.keys()
    assert all(np.array_equal(one.details[name], other.details[name]) for name in one.details)


@pytest.mark.parametrize("kind", TYPES)
def test_every_value_is_finite_and_the_metrics_are_there(kind: str) -> None:
    found = fitted(kind).predict(world(), world().pairs)
    sides = [each for each in (found.score_chosen, found.score_rejected, found.uncertainty) if each is not None]
    for values in (found.margin, *sides, *found.details.values()):
        assert values.shape == (PAIRS,)
        assert np.isfinite(values).all()
    assert np.unique(found.margin).size > 10
    assert {"accuracy", "brier", "ece", "temperature"} <= fitted(kind).metrics.keys()


@pytest.mark.parametrize("kind", TYPES)
def test_a_folder_keeps_it(kind: str, tmp_path: Path) -> None:
    fitted(kind).save(tmp_path)
    again = load_reward_model(tmp_path)
    assert isinstance(again, CrossFitted)
    assert again.config == made(kind)
    same(again.predict(world(), world().pairs), fitted(kind).predict(world(), world().pairs))


@pytest.mark.parametrize("kind", TYPES)
def test_row_order_is_nothing(kind: str) -> None:
    pool = world()
    turned = replace(
        pool,
        pairs=pool.pairs.sample(fraction=1.0, shuffle=True, seed=1),
        completions=pool.completions.sample(fraction=1.0, shuffle=True, seed=2),
        prompts=pool.prompts.sample(fraction=1.0, shuffle=True, seed=3),
    )
    found = made(kind).fit_all(turned)
    same(found.predict(turned, pool.pairs), fitted(kind).predict(pool, pool.pairs))


@pytest.mark.parametrize("kind", TYPES)
def test_a_pair_alone_has_the_same_margin(kind: str) -> None:
    pool = world()
    whole = fitted(kind).predict(pool, pool.pairs).margin
    for row in (0, 1):
        alone = fitted(kind).predict(pool, pool.pairs[row : row + 1]).margin
        assert alone == pytest.approx(whole[row : row + 1], abs=1e-9)


@pytest.mark.parametrize("kind", TYPES)
def test_no_train_pair_is_an_error_that_says_so(kind: str) -> None:
    pool = world()
    none = replace(pool, pairs=pool.pairs.with_columns(split=pl.lit("test")))
    with pytest.raises(ValueError, match="the 0 train pairs fall into 0 of 2 folds by prompt"):
        made(kind).fit_all(none)
