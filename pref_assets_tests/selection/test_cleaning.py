"""Budgets of cleaners."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.pool import Vectors
from pref_assets.selection import Budget, ConfidentLearning, Secrets
from pref_assets_tests.selection.pools import make_pool, selected


def counted(tokens):
    """Half of the pairs look flipped; a pair costs its tokens."""
    pool = make_pool([0.0] * len(tokens), p_correct=[0.9, 0.1] * (len(tokens) // 2))
    ids = [f"{side}{i:03}" for side in "cr" for i in range(len(tokens))]
    costs = np.array([*tokens, *[0] * len(tokens)])
    return replace(pool, embeddings={"minilm": Vectors(ids, np.zeros((len(ids), 2), np.float32), costs)})


def test_tokens_are_drawn_from_the_clean_pairs_and_fill_the_budget():
    pool = counted([10] * 20)
    settings = {"scores": "strength", "rule": "predicted_other", "counted_by": "minilm"}
    decisions = ConfidentLearning(budget=Budget(tokens=55), **settings).select(pool)
    assert decisions["selected"].sum() == 5
    assert all(int(pair[1:]) % 2 == 0 for pair in selected(decisions))
    with pytest.raises(ValueError, match=r"budget of 150 tokens, but the 10 of 20 pairs that look clean have only 100"):
        ConfidentLearning(budget=Budget(tokens=150), **settings).select(pool)


def test_tokens_need_counts():
    with pytest.raises(ValidationError, match="a budget in tokens needs `counted_by`"):
        Secrets(scores="strength", budget=Budget(tokens=10))


def test_a_smaller_budget_is_a_part_of_a_larger_one():
    pool = make_pool([0.0] * 40, p_correct=[0.9, 0.1] * 20)
    few, many = (
        set(selected(ConfidentLearning(scores="strength", budget=Budget(count=n)).select(pool))) for n in (5, 10)
    )
    assert few < many
    again = selected(ConfidentLearning(scores="strength", budget=Budget(count=5), seed=1).select(pool))
    assert set(again) != few


def test_undrawn_pairs_keep_no_other_reason():
    pool = make_pool([0.0] * 40, p_correct=[0.9, 0.1] * 20)
    decisions = ConfidentLearning(scores="strength", budget=Budget(count=5)).select(pool)
    codes = decisions.select(pl.col("reason").str.split(":").list.first())["reason"].value_counts()
    assert dict(codes.iter_rows()) == {"selected": 5, "over_budget": 15, "flipped": 20}
