import polars as pl
import pytest

from pref_assets.selection import S2L
from pref_assets_tests.selection.clustered import clustered_pool, shares
from pref_assets_tests.selection.invariants import assert_promises


def s2l(budget: int | str, **more: object) -> S2L:
    return S2L.model_validate({"budget": budget, "clusters": "topics", **more})


@pytest.mark.parametrize("unit", ["pair", "completion"])
@pytest.mark.parametrize("budget", [1, 7, "50%", "100%"])
def test_promises(unit: str, budget: int | str) -> None:
    assert_promises(s2l(budget), clustered_pool([9, 4, 2, 1], unit=unit))
    assert_promises(s2l(budget, by_source=True), clustered_pool([9, 4, 2, 1], unit=unit, sources=["a", "b", "b"]))


def test_oracle() -> None:
    pool = clustered_pool([1000, 500, 200, 50, 5])
    decisions = s2l(250).select(pool)
    assert shares(pool, decisions) == [65, 65, 65, 50, 5]
    kept = decisions.filter("selected")["reason"]
    assert kept.str.contains(r"^selected: draw \d+ of \d+ pairs in cluster \d$").all()


def test_tiny_clusters_come_last() -> None:
    pool = clustered_pool([5, 4, 2, 1])
    assert shares(pool, s2l(8).select(pool)) == [4, 4, 0, 0]
    assert shares(pool, s2l(11).select(pool)) == [5, 4, 1, 1]
    assert shares(pool, s2l(8, small=0).select(pool)) == [3, 2, 2, 1]


def test_sources_share_before_clusters_do() -> None:
    pool = clustered_pool([30, 30], sources=["a", "b", "b"])  # 20 of a, 40 of b
    kept = s2l(30, by_source=True).select(pool).filter("selected").join(pool.pairs, on="pair_id")
    counts = kept.select(pl.col("provenance").list.first().struct.field("source")).to_series().value_counts()
    assert dict(counts.iter_rows()) == {"a": 15, "b": 15}


def test_a_smaller_budget_is_part_of_a_larger_one() -> None:
    pool = clustered_pool([20, 10, 5])
    small, large = (set(s2l(b).select(pool).filter("selected")["pair_id"]) for b in (7, 20))
    assert small < large


def test_draws_of_a_cluster_do_not_depend_on_the_others() -> None:
    alone, more = clustered_pool([6, 6], held_out=0), clustered_pool([6, 60], held_out=0)
    first = [f"p{i:04}" for i in range(6)]
    picks = [s2l(6).select(pool).filter(pl.col("selected") & pl.col("pair_id").is_in(first)) for pool in (alone, more)]
    assert picks[0]["pair_id"].to_list() == picks[1]["pair_id"].to_list()


def test_tokens() -> None:
    pool = clustered_pool([20, 10], tokens=5)  # 10 tokens a pair
    decisions = s2l("95 tokens", counted_by="minilm").select(pool)
    assert shares(pool, decisions) == [5, 4]


def test_bad_inputs() -> None:
    pool = clustered_pool([3, 3])
    pool.clusters["topics"] = pool.clusters["topics"].filter(pl.col("id") != "p0002")  # type: ignore[index]
    with pytest.raises(ValueError, match=r"1 of 6 train pairs have no cluster in 'topics', e\.g\. \['p0002'\]"):
        s2l(2).select(pool)
    with pytest.raises(ValueError, match="budget of 9 pairs, but only 6 candidates"):
        s2l(9).select(clustered_pool([3, 3]))
