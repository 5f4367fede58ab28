"""Shares: the same number and interval as from all events at once, in whatever parts they come."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.evaluation.intervals import group_numbers, share, wilson
from pref_assets.inspection.shares import EVENTS, shares, sums


def frame(rows: list[tuple[str, bool]], *, kept: bool = True) -> pl.DataFrame:
    events = [{"prompt": prompt, "kept": kept, "metric": "m", "group": "g", "won": won} for prompt, won in rows]
    return pl.DataFrame(events, schema=EVENTS)


def test_independent_events_have_the_plain_wilson_interval() -> None:
    found = shares([sums(frame([(str(n), n < 3) for n in range(4)]))]).filter(data="pairs").row(0, named=True)
    assert (found["value"], found["n"]) == (0.75, 4)
    assert (found["lo"], found["hi"]) == pytest.approx(wilson(3, 4))


def test_events_that_were_not_kept_count_before_and_not_after() -> None:
    both = pl.concat([frame([("a", True)]), frame([("b", False)], kept=False)])
    found = shares([sums(both)]).select("data", "value", "n").rows()
    assert found == [("comparisons", 0.5, 2), ("pairs", 1.0, 1)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), min_size=2, max_size=40),
    st.sets(st.sampled_from("abcdef")),
)
def test_parts_add_up_to_the_interval_of_all_events(rows: list[tuple[str, bool]], first: set[str]) -> None:
    whole = frame(rows)
    ours = pl.col("prompt").is_in(sorted(first))
    found = shares([sums(whole.filter(ours)), sums(whole.filter(~ours))]).filter(data="pairs").row(0, named=True)
    values = np.array([won for _, won in rows], np.float64)
    expected = share(values, group_numbers([prompt for prompt, _ in rows]))
    assert found["n"] == expected.n
    assert [found["value"], found["lo"], found["hi"]] == pytest.approx([expected.value, expected.lo, expected.hi])
