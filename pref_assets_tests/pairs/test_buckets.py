from itertools import pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.pairs.buckets import Range, prompt_ranges

ids = st.lists(st.none() | st.text("0123456789abcdef", min_size=1, max_size=6), max_size=30)


def table(values):
    return pl.LazyFrame({"prompt_id": pl.Series(values, dtype=pl.String)})


@settings(max_examples=60, deadline=None)
@given(ids, ids, st.integers(1, 12))
def test_every_id_lies_in_one_range_and_ranges_are_in_order(one, other, rows):
    tables = [table(one), table(other)]
    ranges = prompt_ranges(tables, rows)
    assert (ranges[0].low, ranges[-1].high) == (None, None)
    assert all(left.high == right.low for left, right in pairwise(ranges))
    for given_ids, frame in zip((one, other), tables, strict=True):
        found = pl.concat(each.of(frame).collect() for each in ranges)["prompt_id"].to_list()
        assert sorted(found) == sorted(each for each in given_ids if each is not None)


def test_ranges_hold_the_rows_asked_for_unless_ids_start_alike():
    prompts = table([f"{number:04x}rest" for number in range(100)])
    completions = table([f"{number:04x}rest" for number in range(100) for _ in range(2)])
    ranges = prompt_ranges([prompts, completions], 30)
    sizes = [sum(each.of(frame).collect().height for frame in (prompts, completions)) for each in ranges]
    assert sizes == [30] * 10
    alike = table([f"0000{number}" for number in range(50)] + ["0001"])
    assert prompt_ranges([alike], 10) == [Range(None, "0001"), Range("0001", None)]


def test_no_rows_are_one_range():
    assert prompt_ranges([table([])], 10) == [Range(None, None)]
