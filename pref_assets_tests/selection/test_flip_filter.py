import pytest

from pref_assets.selection import Budget, FlipFilter
from pref_assets_tests.selection.pools import make_pool, selected


def test_pairs_below_the_probability_are_dropped_as_flipped() -> None:
    pool = make_pool([2.0, -1.0, 0.5, -3.0], p_correct=[0.9, 0.3, 0.6, 0.1])
    decisions = FlipFilter(scores="strength").select(pool)
    assert selected(decisions) == ["p000", "p002"]
    assert decisions["reason"].to_list() == [
        "selected: label looks right",
        "flipped: p_correct below 0.5",
        "selected: label looks right",
        "flipped: p_correct below 0.5",
    ]


def test_the_lowest_share_of_margins_is_dropped() -> None:
    pool = make_pool([5.0, 4.0, 3.0, 2.0, 1.0, -1.0, -2.0, -3.0, 6.0, 7.0])
    decisions = FlipFilter(scores="strength", criterion="lowest_share", share=0.2).select(pool)
    assert decisions.filter(~decisions["selected"])["pair_id"].to_list() == ["p006", "p007"]
    assert decisions["reason"][6] == "flipped: among the lowest 20% of margins"


def test_a_budget_draws_at_random_from_the_clean_pairs() -> None:
    pool = make_pool([float(s) for s in range(-10, 30)])
    drawn = [set(selected(FlipFilter(scores="strength", budget=Budget(count=9), seed=s).select(pool))) for s in (0, 1)]
    assert drawn[0] != drawn[1]
    assert all(p >= "p010" for draw in drawn for p in draw)
    reasons = FlipFilter(scores="strength", budget=Budget(count=9)).select(pool)["reason"].value_counts()
    assert dict(reasons.iter_rows()) == {
        "flipped: p_correct below 0.5": 10,
        "over_budget: not drawn": 21,
        "selected: label looks right": 9,
    }


def test_a_budget_above_the_clean_pairs_is_an_error() -> None:
    pool = make_pool([2.0, -1.0, -1.0], p_correct=[0.9, 0.3, 0.6])
    with pytest.raises(ValueError, match=r"budget of 3 pairs, but only 2 of 3 look clean \(p_correct below 0\.5\)"):
        FlipFilter(scores="strength", budget=Budget(count=3)).select(pool)
