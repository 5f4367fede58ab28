"""What every selector promises, whatever the pool."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import TypeAdapter, ValidationError

from pref_assets.pairs.schema import DECISIONS
from pref_assets.selection import SelectorConfig
from pref_assets.settings import Reference
from pref_assets_tests.selection.pools import make_pool, selected, shuffled

CONFIGS: list[dict[str, Any]] = [
    {"type": "all"},
    {"type": "random"},
    {"type": "top_margin", "scores": "strength"},
    {"type": "deita", "quality": "strength", "embeddings": "minilm", "threshold": 0.2},
    {"type": "flip_filter", "scores": "strength", "min_p_correct": 0.0},
    {"type": "flip_filter", "scores": "strength", "criterion": "lowest_share", "share": 0.01},
]
ADAPTER: TypeAdapter = TypeAdapter(SelectorConfig)


def selector(config: dict[str, Any], **more: Any):
    return ADAPTER.validate_python({**config, **({} if config["type"] == "all" else more)})


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c["type"] + ("_share" if "share" in c else ""))
@settings(max_examples=15, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.0, 1.0, 2.0]), min_size=1, max_size=40),
    held_out=st.integers(0, 4),
    fraction=st.floats(0.05, 1.0),
    seed=st.integers(0, 3),
)
def test_invariants(config: dict[str, Any], scores: list[float], held_out: int, fraction: float, seed: int) -> None:
    pool = make_pool(scores, held_out)
    budget = max(1, round(fraction * len(scores)))
    method = selector(config, budget=budget, seed=seed)
    decisions = method.select(pool)

    count = len(scores) if config["type"] == "all" else budget
    assert len(selected(decisions)) == count
    assert decisions.schema == DECISIONS.schema
    assert decisions["pair_id"].to_list() == pool.pairs["pair_id"].sort().to_list()
    assert decisions["reason"].null_count() == 0
    ranks = decisions.filter(pl.col("rank").is_not_null())
    assert sorted(ranks["rank"]) == list(range(1, len(scores) + 1))
    assert decisions.filter("selected")["rank"].max() == count

    outside = decisions.join(pool.pairs.filter(pl.col("split") != "train"), on="pair_id", how="semi")
    assert len(outside) == held_out
    assert not outside["selected"].any()
    assert set(outside["reason"]) <= {"held_out"}

    assert_frame_equal(method.select(shuffled(pool, seed)), decisions)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c["type"] + ("_share" if "share" in c else ""))
def test_an_empty_pool_selects_nothing(config: dict[str, Any]) -> None:
    assert selected(selector(config, budget="50%").select(make_pool([], held_out=2))) == []


@pytest.mark.parametrize("config", CONFIGS[1:], ids=lambda c: c["type"] + ("_share" if "share" in c else ""))
def test_a_budget_above_the_pool_is_an_error(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="budget of 4 pairs, but only 3 candidates"):
        selector(config, budget=4).select(make_pool([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("config", CONFIGS[2:5], ids=lambda c: c["type"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_a_pair_without_a_usable_score_is_an_error(config: dict[str, Any], bad: float | None) -> None:
    scores: list[Any] = [1.0, bad, 3.0]
    pool = make_pool(scores, p_correct=scores)
    with pytest.raises(ValueError, match=r"1 of 3 train pairs have no usable .*'strength', e\.g\. \['p001'\]"):
        selector(config, budget=1).select(pool)


def test_a_pair_that_was_never_scored_is_an_error() -> None:
    pool = make_pool([1.0, 2.0, 3.0])
    pool = type(pool)(pool.pairs, pool.completions, {"strength": pool.scores["strength"].head(1)}, pool.embeddings)
    with pytest.raises(ValueError, match=r"2 of 3 train pairs have no usable .*\['p001', 'p002'\]"):
        selector(CONFIGS[2], budget=1).select(pool)


def test_equal_scores_are_ordered_by_the_seed_and_not_by_id() -> None:
    pool = make_pool([1.0] * 30)
    orders = {tuple(selected(selector(CONFIGS[2], budget=30, seed=seed).select(pool))) for seed in range(4)}
    assert len(orders) == 4
    assert tuple(pool.pairs["pair_id"]) not in orders


@pytest.mark.parametrize(
    "config",
    [{"type": "best"}, {"type": "random"}, {"type": "random", "budget": "0%"}, {"type": "all", "budget": 3}],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(config)


def test_names_of_other_entries_are_references() -> None:
    assert selector(CONFIGS[3], budget=1).references() == [
        Reference(("quality",), "scores", "strength"),
        Reference(("embeddings",), "embeddings", "minilm"),
    ]
