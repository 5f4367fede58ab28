from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.schema import CLUSTERS
from pref_assets.selection import Stratified
from pref_assets.selection.quotas import quotas
from pref_assets.selection.strata import bins_of, clusters_of, sources_of
from pref_assets_tests.selection.pools import selected
from pref_assets_tests.selection.rich_pools import rich_pool

NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("sizes", "total", "share", "expected"),
    [
        ([60, 30, 10], 10, "proportional", [6, 3, 1]),
        ([47, 16, 37], 10, "proportional", [5, 1, 4]),  # remainders .7, .6, .7
        ([60, 30, 10], 30, "equal", [10, 10, 10]),
        ([60, 30, 4], 30, "equal", [13, 13, 4]),
        ([60, 2, 4], 30, "equal", [24, 2, 4]),
        ([1, 2, 3], 6, "equal", [1, 2, 3]),
        ([0, 5, 5], 4, "equal", [0, 2, 2]),
        ([3, 3, 3], 0, "proportional", [0, 0, 0]),
    ],
)
def test_quotas_by_hand(sizes: list[int], total: int, share: str, expected: list[int]) -> None:
    assert quotas(NAMES, np.array(sizes), total, share, 0).tolist() == expected  # type: ignore[arg-type]


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=8), st.floats(0, 1), st.sampled_from(["proportional", "equal"])
)
def test_quotas_are_exact_and_within_the_groups(sizes: list[int], fraction: float, share: str) -> None:
    array, total = np.array(sizes), round(fraction * sum(sizes))
    given_ = quotas([str(i) for i in range(len(sizes))], array, total, share, 1)  # type: ignore[arg-type]
    assert given_.sum() == total
    assert (given_ >= 0).all()
    assert (given_ <= array).all()
    if share == "proportional" and sum(sizes):
        assert (np.abs(given_ - total * array / array.sum()) < 1).all()
    else:
        full = given_ == array
        assert full.all() or np.ptp(given_[~full]) <= 1
        assert full.all() or (array[full] <= given_[~full].max() + 1).all()


def test_equal_remainders_are_drawn() -> None:
    drawn = {tuple(quotas(NAMES, np.array([5, 5, 5]), 4, "proportional", seed).tolist()) for seed in range(20)}
    assert drawn == {(2, 1, 1), (1, 2, 1), (1, 1, 2)}


def test_more_than_the_groups_hold_is_an_error() -> None:
    with pytest.raises(ValueError, match="5 are to be taken of groups that hold only 4"):
        quotas(NAMES, np.array([1, 1, 2]), 5, "equal", 0)


def test_shares_of_sources() -> None:
    pool = rich_pool(100)
    sources = pool.candidates().select("pair_id", source=sources_of(pool.candidates()))
    sizes = dict(sources.group_by("source").len().rows())

    def kept(share: str, budget: int) -> dict[str, int]:
        decisions = Stratified.model_validate({"by": "source", "share": share, "budget": budget}).select(pool)
        return dict(decisions.filter("selected").join(sources, on="pair_id").group_by("source").len().rows())

    assert kept("proportional", 50) == dict(
        zip("abc", quotas(NAMES, np.array([sizes[s] for s in "abc"]), 50, "proportional", 0).tolist(), strict=True)
    )
    even = kept("equal", 3 * sizes["c"])
    assert even == dict.fromkeys("abc", sizes["c"])


def test_reasons_count_the_stratum() -> None:
    decisions = Stratified(by="source", budget=30).select(rich_pool())
    row = decisions.filter("selected").sort("rank").row(0, named=True)
    code, _, detail = row["reason"].partition(": ")
    assert code == "selected"
    assert detail.split(" in ")[1] in {"a", "b", "c"}


def test_tokens_take_turns_in_proportion() -> None:
    pool = rich_pool(300)
    decisions = Stratified(by="source", budget="5k tokens", counted_by="minilm").select(pool)
    sources = pool.candidates().select("pair_id", source=sources_of(pool.candidates()))
    joined = decisions.join(sources, on="pair_id")
    whole = joined.group_by("source").len(name="n").sort("source")["n"].to_numpy()
    kept = joined.filter("selected").group_by("source").len(name="n").sort("source")["n"].to_numpy()
    np.testing.assert_allclose(kept / kept.sum(), whole / whole.sum(), atol=0.03)


def test_bins_are_quantiles_and_equal_numbers_share_one() -> None:
    bins = bins_of(pl.Series([1.0, 2.0, 3.0, 4.0, None]), 2)
    assert bins.to_list() == ["[1.0, 2.0]", "[1.0, 2.0]", "[3.0, 4.0]", "[3.0, 4.0]", "unknown"]
    assert bins_of(pl.Series([5, 5, 5]), 4).to_list() == ["[5, 5]"] * 3
    assert bins_of(pl.Series([None, None], dtype=pl.Float64), 4).to_list() == ["unknown"] * 2


def test_pairs_of_several_sources_are_a_stratum_of_their_own() -> None:
    pool = rich_pool(2, 0)
    both = [[{"source": s, "uri": "f", "row": 1, "batch": "b"} for s in names] for names in ("ba", "")]
    pairs = pool.pairs.with_columns(provenance=pl.Series(both, dtype=pool.pairs.schema["provenance"]))
    assert sources_of(pairs).to_list() == ["a+b", "unknown"]


def test_clusters_may_be_of_pairs() -> None:
    pool = rich_pool(6, 1)
    of_pairs = CLUSTERS.frame({"id": f"p{i:03}", "cluster": i % 2, "distance": 0.0} for i in range(6))
    pool = replace(pool, clusters={"pairs": of_pairs, "short": of_pairs.head(2)})
    assert clusters_of(pool, pool.candidates(), "pairs").to_list() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(ValueError, match=r"4 pairs are in no cluster of 'short', e\.g\. \['p002', 'p003', 'p004'\]"):
        Stratified(by="cluster", clusters="short", budget=2).select(pool)


def test_what_is_missing_is_said() -> None:
    pool = rich_pool(6, 1)
    with pytest.raises(ValueError, match="no prompt's metadata has 'topic'; keys: subject"):
        Stratified(by="metadata", key="topic", budget=2).select(pool)
    unknown = pool.pairs.with_columns(strength=pl.lit(None, pl.Float64))
    with pytest.raises(ValueError, match="no train pair has a strength"):
        Stratified(by="strength", budget=2).select(replace(pool, pairs=unknown))
    with pytest.raises(
        ValueError, match=r"6 pairs have a prompt or completion without text in the tables, e\.g\. \['p000'"
    ):
        Stratified(by="length", budget=2).select(replace(pool, completions=pool.completions.clear()))


def test_metadata_that_is_absent_is_a_stratum() -> None:
    pool = rich_pool(60, 0)
    decisions = Stratified(by="metadata", key="subject", share="equal", budget=6).select(pool)
    strata = decisions.filter("selected")["reason"].str.split(" in ").list.last()
    assert sorted(strata) == ["law", "law", "maths", "maths", "unknown", "unknown"]
    assert len(selected(decisions)) == 6
