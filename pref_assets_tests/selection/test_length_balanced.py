from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pref_assets.pairs.schema import COMPLETIONS, PROMPTS
from pref_assets.pool import Pool
from pref_assets.selection import LengthBalanced
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool, selected


def pool_of(lengths: list[tuple[int, int]]) -> Pool:
    """Pairs whose chosen and rejected answers have these numbers of characters."""
    pool = make_pool([0.0] * len(lengths))
    rows = [(f"{side}{i:03}", each[k]) for i, each in enumerate(lengths) for k, side in enumerate("cr")]
    completions = COMPLETIONS.frame(
        {"completion_id": id_, "prompt_id": f"q{id_[1:]}", "messages": [{"role": "assistant", "content": "x" * n}]}
        for id_, n in rows
    )
    prompts = PROMPTS.frame(
        {"prompt_id": id_, "messages": [{"role": "user", "content": "why?"}]} for id_ in pool.pairs["prompt_id"]
    )
    return replace(pool, completions=completions, prompts=prompts)


def skewed(n: int = 400, seed: int = 0) -> Pool:
    """Most pairs choose the longer answer, the more so the larger the difference."""
    rng = np.random.default_rng(seed)
    gaps = rng.integers(0, 60, n)
    longer = rng.random(n) < 0.5 + gaps / 150
    return pool_of([(80 + gap, 80) if up else (80, 80 + gap) for gap, up in zip(gaps.tolist(), longer, strict=True)])


def test_longer_and_shorter_win_equally_often_in_every_bin() -> None:
    pool = skewed()
    before = pool_gaps(pool, pool.candidates()["pair_id"].to_list())
    assert np.mean(before[before != 0] > 0) > 0.6
    decisions = assert_promises(LengthBalanced(budget=200, bins=6), pool)
    kept = decisions.filter("selected").with_columns(bin=pl.col("reason").str.split(" in ").list.last())
    sides = kept.group_by("bin").agg(balance=pl.col("score").sign().sum(), n=pl.len())
    assert (sides["balance"] == 0).all()
    assert len(sides) == 7
    edges = np.quantile(np.abs(before[before != 0]), np.linspace(0, 1, 7))
    shares = [np.mean(np.abs(kept["score"].to_numpy()) > edge) for edge in edges[1:-1]]
    assert (np.diff(shares) < 0).all()  # bins share the couples: large differences are still there
    assert shares[-1] > 0.05


def pool_gaps(pool: Pool, ids: list[str]) -> np.ndarray:
    texts = pool.texts(pool.pairs.filter(pl.col("pair_id").is_in(ids)))
    return (
        texts["chosen"].str.len_chars().cast(pl.Int64) - texts["rejected"].str.len_chars().cast(pl.Int64)
    ).to_numpy()


@pytest.mark.parametrize("count", range(1, 8))
def test_the_imbalance_is_at_most_the_odd_one(count: int) -> None:
    pool = pool_of([(9, 1)] * 5 + [(1, 9)] * 3 + [(4, 4)])  # capacity 3 couples and a neutral pair
    scores = LengthBalanced(budget=count).select(pool).filter("selected")["score"]
    assert len(scores) == count
    assert abs(scores.sign().sum()) == 0


def test_without_neutral_pairs_an_odd_number_leaves_one_single() -> None:
    pool = pool_of([(9, 1)] * 5 + [(1, 9)] * 3)
    for count in (1, 3, 5):
        scores = LengthBalanced(budget=count).select(pool).filter("selected")["score"]
        assert abs(scores.sign().sum()) == 1


def test_more_than_can_be_balanced_is_an_error() -> None:
    pool = pool_of([(9, 1)] * 5 + [(1, 9)] * 3)
    assert len(selected(LengthBalanced(budget=6).select(pool))) == 6
    with pytest.raises(
        ValueError, match="length_balanced: budget of 7 pairs, but only 6 of 8 train pairs have a partner"
    ):
        LengthBalanced(budget=7).select(pool)


def test_reasons_and_words() -> None:
    pool = pool_of([(9, 1), (1, 9), (7, 1), (4, 4)])
    decisions = LengthBalanced(budget=3, bins=1).select(pool)
    codes = decisions["reason"].str.split(":").list.first().to_list()
    assert sorted(codes) == ["selected", "selected", "selected", "unmatched"]
    assert decisions["reason"][3] == "selected: equal length, difference in none"
    assert decisions["score"].to_list() == [8, -8, 6, 0]
    words = LengthBalanced(budget=4, bins=1, length="words").select(pool)
    assert words["score"].to_list() == [0, 0, 0, 0]
