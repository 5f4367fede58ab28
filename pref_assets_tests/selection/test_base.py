import pytest

from pref_assets.selection.base import Budget


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
