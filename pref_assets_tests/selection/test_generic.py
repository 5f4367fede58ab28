"""What top_k, band, threshold, gumbel_top_k, stratified, k_center, facility_location, length_balanced, mpo_split and
sequence promise alike, over pools, budgets and bad input."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from pref_assets.pool import Vectors
from pref_assets.selection import Selector, SelectorConfig
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import selected
from pref_assets_tests.selection.rich_pools import rich_pool, with_scores

ADAPTER: TypeAdapter[Any] = TypeAdapter(SelectorConfig)
BUDGETED: list[dict[str, Any]] = [
    {"type": "top_k", "scores": "strength"},
    {"type": "top_k", "scores": "strength", "column": "twice", "ascending": True},
    {"type": "top_k", "column": "p_chosen"},
    {"type": "gumbel_top_k", "scores": "strength"},
    {"type": "gumbel_top_k", "scores": "strength", "ascending": True, "temperature": 0.1},
    {"type": "band", "scores": "strength", "low": 0.1, "high": 0.9},
    {"type": "band", "scores": "strength", "low": 0.1, "high": 0.9, "within": "centre_out"},
    {"type": "threshold", "scores": "strength", "min": -1.0},
    {"type": "stratified", "by": "source"},
    {"type": "stratified", "by": "source", "share": "equal"},
    {"type": "stratified", "by": "strength", "share": "equal"},
    {"type": "stratified", "by": "length", "bins": 3},
    {"type": "stratified", "by": "cluster", "clusters": "topics"},
    {"type": "stratified", "by": "metadata", "key": "subject"},
    {"type": "k_center", "embeddings": "minilm"},
    {"type": "k_center", "embeddings": "minilm", "compare": "both", "normalize": False, "batch": 3},
    {"type": "facility_location", "embeddings": "minilm"},
    {"type": "facility_location", "embeddings": "minilm", "compare": "both", "dense": 5, "neighbours": 6},
    {"type": "length_balanced", "bins": 2},
]
SCORED = [config for config in BUDGETED if "scores" in config and "column" not in config]
UNBUDGETED: list[dict[str, Any]] = [
    {"type": "threshold", "scores": "strength", "min": 0.0, "max": 1.0},
    {"type": "mpo_split", "scores": "strength"},
    {"type": "mpo_split", "scores": "strength", "gap_threshold": 0.5, "on_negative": "flip"},
    {"type": "mpo_split", "scores": "strength", "on_negative": "drop", "assign": "random"},
    {"type": "mpo_split", "scores": "strength", "assign": "reversed", "keep": "second"},
    {"type": "stages", "scores": "strength", "n": 4},
    {"type": "stages", "column": "p_chosen", "easy": "low", "thresholds": [0.6, 0.8], "order": "random"},
    {"type": "curry", "scores": "strength", "stages": 1},
    {"type": "curry", "scores": "strength", "incomplete": "keep", "order": "random"},
]


def make(config: dict[str, Any], **more: Any) -> Selector:
    return ADAPTER.validate_python({**config, **more})


def name(config: dict[str, Any]) -> str:
    return "-".join(str(value) for key, value in config.items() if key not in {"scores", "embeddings"})


@pytest.mark.parametrize("config", BUDGETED, ids=name)
@pytest.mark.parametrize(("budget", "seed"), [(1, 0), (17, 1), ("40%", 2)])
def test_promises(config: dict[str, Any], budget: Any, seed: int) -> None:
    assert_promises(make(config, budget=budget, seed=seed), rich_pool(seed=seed))


@pytest.mark.parametrize("config", UNBUDGETED, ids=name)
def test_promises_without_budget(config: dict[str, Any]) -> None:
    assert_promises(make(config, seed=1), rich_pool(seed=2))


@pytest.mark.parametrize("config", BUDGETED, ids=name)
def test_a_budget_in_tokens_is_kept(config: dict[str, Any]) -> None:
    pool = rich_pool()
    method = make(config, budget="600 tokens", counted_by="minilm")
    decisions = assert_promises(method, pool)
    vectors, pairs = pool.embeddings["minilm"], pool.pairs.sort("pair_id")
    costs = dict(
        zip(
            pairs["pair_id"],
            vectors.tokens(pairs["chosen_id"].to_list()) + vectors.tokens(pairs["rejected_id"].to_list()),
            strict=True,
        )
    )
    used = sum(costs[each] for each in selected(decisions))
    assert used <= 600
    outside = ("below_band", "above_band", "below_min", "above_max", "unmatched", "held_out")
    left = [
        costs[row["pair_id"]] for row in decisions.to_dicts() if not row["reason"].startswith((*outside, "selected"))
    ]
    assert used + min(left) > 600


@pytest.mark.parametrize("config", BUDGETED, ids=name)
def test_a_budget_above_the_pool_is_an_error(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="budget of 61 pairs, but only 60 candidates"):
        make(config, budget=61).select(rich_pool())


@pytest.mark.parametrize("config", BUDGETED, ids=name)
def test_an_empty_pool_selects_nothing(config: dict[str, Any]) -> None:
    assert selected(make(config, budget="50%").select(rich_pool(0, 2))) == []


@pytest.mark.parametrize("config", [*SCORED, UNBUDGETED[1]], ids=name)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_a_pair_without_a_usable_score_is_an_error(config: dict[str, Any], bad: Any) -> None:
    pool = with_scores(rich_pool(3, 1), [1.0, bad, 3.0])
    more = {} if config["type"] == "mpo_split" else {"budget": 1}
    with pytest.raises(ValueError, match=r"1 of 3 train pairs have no usable 'score' in scores 'strength'.*'p001'"):
        make(config, **more).select(pool)


@pytest.mark.parametrize("config", [each for each in SCORED if each["type"] != "threshold"], ids=name)
def test_constant_scores_are_a_seeded_draw(config: dict[str, Any]) -> None:
    pool = with_scores(rich_pool(40, 0), [1.0] * 40)
    draws = {tuple(sorted(selected(make(config, budget=10, seed=seed).select(pool)))) for seed in range(5)}
    assert len(draws) == 5
    assert tuple(f"p{i:03}" for i in range(10)) not in draws


@pytest.mark.parametrize("kind", ["k_center", "facility_location"])
def test_a_missing_or_broken_vector_is_an_error(kind: str) -> None:
    pool = rich_pool(5, 0)
    vectors = pool.embeddings["minilm"]
    method = make({"type": kind, "embeddings": "minilm"}, budget=2)
    broken = vectors.matrix.copy()
    broken[2, 0] = np.nan
    with pytest.raises(ValueError, match=r"1 embeddings hold NaN or infinite values, e\.g\. \['c002'\]"):
        method.select(replace(pool, embeddings={"minilm": Vectors(vectors.ids, broken)}))
    with pytest.raises(ValueError, match=r"3 ids have no embedding, e\.g\. \['c002', 'c003', 'c004'\]"):
        method.select(replace(pool, embeddings={"minilm": Vectors(vectors.ids[:2], vectors.matrix[:2])}))


@pytest.mark.parametrize("kind", ["k_center", "facility_location"])
def test_duplicate_vectors_come_last_in_the_order_of_the_seed(kind: str) -> None:
    pool = rich_pool(12, 0)
    ids = pool.embeddings["minilm"].ids
    matrix = np.repeat(np.eye(4, dtype=np.float32), 6, axis=0)[: len(ids)]
    pool = replace(pool, embeddings={"minilm": Vectors(ids, matrix)})  # c000-c005 are one vector, c006-c011 another
    method = make({"type": kind, "embeddings": "minilm"}, budget=7)
    decisions = assert_promises(method, pool)
    first = selected(decisions)[:2]
    assert {int(id_[1:]) // 6 for id_ in first} == {0, 1}
    assert decisions.sort("rank")["score"][2:7].to_list() == [0] * 5
    others = {
        tuple(selected(make({"type": kind, "embeddings": "minilm"}, budget=7, seed=s).select(pool))) for s in range(4)
    }
    assert len(others) == 4


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "band", "scores": "s", "budget": 1, "low": 0.5, "high": 0.5}, "from low to high"),
        ({"type": "threshold", "scores": "s"}, "needs `min`, `max` or both"),
        ({"type": "threshold", "scores": "s", "min": 2, "max": 1}, "nothing passes"),
        ({"type": "threshold", "scores": "s", "min": 2, "budget": "9 tokens"}, "needs `counted_by`"),
        ({"type": "stratified", "by": "cluster", "budget": 1}, "`by: cluster` and `clusters` go together"),
        ({"type": "stratified", "by": "source", "key": "x", "budget": 1}, "`by: metadata` and `key` go together"),
        ({"type": "gumbel_top_k", "scores": "s", "budget": 1, "temperature": 0}, "greater than 0"),
        ({"type": "sequence", "steps": []}, "at least 1 item"),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(config)
