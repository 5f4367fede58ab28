import polars as pl
import pytest

from pref_assets.pairs.schema import COMPLETIONS
from pref_assets.scoring import Ratings, Strength
from pref_assets_tests.heads.rated import rated_pool, unrated


def test_ratings_are_averaged_weighed_and_subtracted() -> None:
    pool, _ = rated_pool(3, ["a", "b"], raters=2)
    found = Ratings(weights={"a": 2.0, "b": -1.0}).score(pool).row(1, named=True)
    pair = pool.pairs.sort("pair_id").row(1, named=True)
    ratings = dict(pool.completions.select("completion_id", "ratings").iter_rows())
    sums, means = {}, {}
    for side in ("chosen", "rejected"):
        mean = {
            name: sum(each["value"] for each in ratings[pair[f"{side}_id"]] if each["dimension"] == name) / 2
            for name in "ab"
        }
        sums[side], means[side] = 2 * mean["a"] - mean["b"], mean
    assert (found["score_chosen"], found["score_rejected"]) == pytest.approx((sums["chosen"], sums["rejected"]))
    assert found["score"] == pytest.approx(sums["chosen"] - sums["rejected"])
    details = {each["name"]: each["value"] for each in found["details"]}
    assert details["b"] == pytest.approx(means["chosen"]["b"] - means["rejected"]["b"])


def test_a_side_without_a_rating_has_no_score() -> None:
    pool, _ = rated_pool(3, ["a", "b"])
    id_ = pool.pairs["rejected_id"][0]
    completions = COMPLETIONS.conform(unrated(pool, "b", [id_]))
    found = Ratings(weights={"a": 1.0, "b": 1.0}).score(type(pool)(pool.pairs, completions))
    row = found.filter(pair_id=pool.pairs["pair_id"][0]).row(0, named=True)
    assert (row["score"], row["score_rejected"], row["category"]) == (None, None, "unrated")
    assert row["score_chosen"] is not None
    assert found["score"].null_count() == 1


def test_strength_is_the_column() -> None:
    pool, _ = rated_pool(3, ["a"])
    pairs = pool.pairs.with_columns(strength=pl.Series([2.0, None, 1.0]))
    found = Strength().score(type(pool)(pairs, pool.completions))
    assert found["score"].to_list() == [2.0, None, 1.0]
    assert found["category"].to_list() == [None, "unsaid", None]
