import numpy as np
import polars as pl
import pytest

from pref_assets.pool import Pool
from pref_assets.selection import SkillGraph
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool, selected


def test_promises() -> None:
    scores = np.random.default_rng(0).normal(size=30).tolist()
    for budget in (1, "40%", 1.0):
        assert_promises(SkillGraph(scores="strength", budget=budget, seed=1), make_pool(scores, held_out=4))
        assert_promises(SkillGraph(scores="strength", budget=budget), make_pool([0.0] * 25))


def test_the_highest_scores_are_kept_with_their_skill() -> None:
    pool = make_pool([1.0, 3.0, 2.0])
    table = pool.scores["strength"].with_columns(
        category=pl.Series(["logic", "algebra", None]),
        details=pl.Series(
            [[{"name": "linear", "value": value}] for value in (9.0, 1.0, 2.0)],
            dtype=pool.scores["strength"].schema["details"],
        ),
    )
    pool = Pool(pool.pairs, pool.completions, {"skills": table})
    decisions = SkillGraph(scores="skills", budget=2).select(pool)
    assert selected(decisions) == ["p001", "p002"]
    assert decisions["reason"].to_list() == [
        "below_cut: the cut is 2.0",
        "selected: nearest skill algebra",
        "selected: nearest skill none",
    ]
    assert selected(SkillGraph(scores="skills", budget=2, aggregation="linear").select(pool)) == ["p000", "p002"]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="1 of 2 train pairs have no usable 'score'"):
        SkillGraph(scores="strength", budget=1).select(make_pool([1.0, np.nan]))
    with pytest.raises(ValueError, match="2 of 2 train pairs have no usable 'linear'"):
        SkillGraph(scores="strength", budget=1, aggregation="linear").select(make_pool([1.0, 2.0]))
    with pytest.raises(ValueError, match="budget of 3 pairs, but only 2 candidates"):
        SkillGraph(scores="strength", budget=3).select(make_pool([1.0, 2.0]))
