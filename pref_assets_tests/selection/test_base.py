from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.scoring.base import pair_scores
from pref_assets.selection import Budget, Random, Vectors
from pref_assets_tests.selection.pools import make_pool, selected


@pytest.mark.parametrize(
    ("value", "candidates", "expected"), [(96, 1000, 96), ("25%", 10, 2), (0.5, 9, 4), ("100%", 7, 7), ("1%", 3, 1)]
)
def test_a_budget_is_a_count_or_a_share(value, candidates: int, expected: int) -> None:
    assert Budget.parse(value).resolve(candidates) == expected


@pytest.mark.parametrize("value", [0, -3, "0%", "101%", 1.5, "many", None, True])
def test_what_is_no_budget_is_refused(value) -> None:
    with pytest.raises(ValueError, match=r"budget|could not convert"):
        Budget.parse(value)


def test_a_count_above_the_pool_is_an_error() -> None:
    with pytest.raises(ValueError, match="budget of 5 pairs, but only 4 candidates"):
        Budget.parse(5).resolve(4)


@pytest.mark.parametrize("text", ["200000 tokens", "200k tokens", "0.2M tokens", "200_000 tokens"])
def test_tokens_are_a_budget_too(text: str) -> None:
    assert Budget.parse(text) == Budget(tokens=200_000)


def test_of_tokens_every_pair_is_taken_that_still_fits() -> None:
    costs = np.array([5, 9, 3, 2, 4])
    budget = Budget.parse("11 tokens")
    assert budget.take(costs).tolist() == [True, False, True, True, False]
    assert budget.most(costs) == 3  # 2 + 3 + 4 fit, 2 + 3 + 4 + 5 do not


@pytest.mark.parametrize(("tokens", "message"), [(24, "only 23"), (1, "the shortest candidate has 2")])
def test_tokens_beyond_the_pool_or_below_any_pair_are_an_error(tokens: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Budget(tokens=tokens).take(np.array([5, 9, 3, 2, 4]))


def test_a_budget_in_tokens_says_who_counts() -> None:
    with pytest.raises(ValidationError, match="counted_by"):
        Random(budget="10 tokens")
    pool = make_pool([0.0] * 6)
    vectors = pool.embeddings["minilm"]
    ids = [*vectors.ids, *(f"r{id_[1:]}" for id_ in vectors.ids)]
    counted = Vectors(ids, np.zeros((12, 2), np.float32), np.arange(1, 13))
    chosen = Random(budget="30 tokens", counted_by="n").select(replace(pool, embeddings={"n": counted}))
    costs = {f"p{i:03}": 2 * i + 8 for i in range(6)}  # c: i + 1, r: i + 7
    used = sum(costs[pair] for pair in selected(chosen))
    left = [costs[pair] for pair in costs if pair not in selected(chosen)]
    assert used <= 30 < used + min(left)
    assert chosen.filter("selected")["rank"].to_list() != []


def test_named_details_of_scores_can_be_ranked_by() -> None:
    pool = make_pool([1.0, 2.0, 3.0])
    frame = pl.DataFrame({"pair_id": ["p000", "p001", "p002"], "score": [0.0] * 3, "ifd": [0.3, float("nan"), 0.1]})
    pool = replace(pool, scores={"lm": pair_scores(frame, ["ifd"])})
    assert pool.value("lm", "ifd")["value"].to_list() == [0.3, None, 0.1]
    with pytest.raises(ValueError, match=r"1 of 3 train pairs have no usable 'ifd' in scores 'lm', e\.g\. \['p001'\]"):
        pool.scored("lm", "ifd")
