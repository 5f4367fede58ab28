from pref_assets.selection import Budget, TopMargin
from pref_assets_tests.selection.pools import make_pool, selected


def test_the_largest_margins_are_kept_in_order() -> None:
    decisions = TopMargin(scores="strength", budget=Budget(count=2)).select(make_pool([0.1, 3.0, -2.0, 1.5]))
    assert selected(decisions) == ["p001", "p003"]
    assert decisions["rank"].to_list() == [3, 1, 4, 2]
    assert decisions["score"].to_list() == [0.1, 3.0, -2.0, 1.5]
    assert decisions["reason"][2] == "below_cut: the cut is 1.5"
