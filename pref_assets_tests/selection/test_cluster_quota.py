import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.selection import ClusterQuota
from pref_assets_tests.selection.clustered import clustered_pool, shares
from pref_assets_tests.selection.invariants import assert_promises


def quota(budget: int | str, **more: object) -> ClusterQuota:
    return ClusterQuota.model_validate({"budget": budget, "clusters": "topics", **more})


@pytest.mark.parametrize("share", ["equal", "proportional", "sqrt"])
@pytest.mark.parametrize("more", [{}, {"scores": "strength"}, {"scores": "strength", "ascending": True}], ids=str)
def test_promises(share: str, more: dict[str, object]) -> None:
    for unit in ("pair", "completion"):
        for budget in (1, 5, "60%", "100%"):
            assert_promises(quota(budget, quota=share, **more), clustered_pool([9, 4, 2, 1], unit=unit))


@pytest.mark.parametrize(
    ("share", "expected"), [("equal", [34, 34, 16]), ("proportional", [69, 11, 4]), ("sqrt", [51, 20, 13])]
)
def test_quotas(share: str, expected: list[int]) -> None:
    """84 of 256 + 40 + 16. Equal: 28 each, of which the third has 16 and leaves 68 to two. Proportional: 68.9, 10.8
    and 4.3. By the roots 16, 6.32 and 4, together 26.3: 51.05, 20.2 and 12.8."""
    pool = clustered_pool([256, 40, 16])
    assert shares(pool, quota(84, quota=share).select(pool)) == expected


def test_the_best_of_each_cluster_are_kept() -> None:
    pool = clustered_pool([10, 10])
    scored = pool.scored("strength").join(pool.clusters["topics"], left_on="pair_id", right_on="id")
    for ascending in (False, True):
        kept = quota(6, scores="strength", ascending=ascending).select(pool).filter("selected")
        best = scored.sort("score", descending=not ascending).group_by("cluster").head(3)
        assert sorted(kept["pair_id"]) == sorted(best["pair_id"])
        assert kept.join(scored, on="pair_id").select((pl.col("score") == pl.col("score_right")).all()).item()


def test_constant_scores_are_a_seeded_draw() -> None:
    pool = clustered_pool([10, 10])
    pool.scores["strength"] = pool.scores["strength"].with_columns(score=1.0)  # type: ignore[index]
    picks = {tuple(assert_promises(quota(4, scores="strength", seed=s), pool)["selected"]) for s in range(5)}
    assert len(picks) > 1


def test_bad_inputs() -> None:
    pool = clustered_pool([3, 3])
    pool.scores["strength"] = pool.scores["strength"].with_columns(  # type: ignore[index]
        score=pl.when(pl.col("pair_id") == "p0001").then(float("nan")).otherwise("score")
    )
    with pytest.raises(ValueError, match="1 of 6 train pairs have no usable 'score'"):
        quota(2, scores="strength").select(pool)
    with pytest.raises(ValidationError, match="say how to rank by `scores`"):
        quota(2, ascending=True)
