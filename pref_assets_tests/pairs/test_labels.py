"""What a decision makes of a label."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pref_assets.pairs.labels import with_decisions

PAIRS = pl.LazyFrame({"pair_id": ["1"], "chosen_id": ["a"], "rejected_id": ["b"], "p_chosen": [0.75]})


def decided(pairs: pl.LazyFrame, label: float | None) -> pl.LazyFrame:
    return with_decisions(pairs, pl.LazyFrame({"pair_id": ["1"], "p_chosen": pl.Series([label], dtype=pl.Float64)}))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (None, ("a", "b", 0.75, False)),
        (0.9, ("a", "b", 0.9, False)),
        (0.5, ("a", "b", 0.5, False)),
        (0.25, ("b", "a", 0.75, True)),
        (0.0, ("b", "a", 1.0, True)),
    ],
)
def test_below_one_half_the_sides_swap_and_the_label_is_mirrored(label, expected):
    found = decided(PAIRS, label).select("chosen_id", "rejected_id", "p_chosen", "swapped").collect()
    assert found.row(0) == expected


@given(st.floats(0.5, 1))
def test_flipping_twice_is_identity(label):
    pairs = PAIRS.with_columns(p_chosen=pl.lit(label))
    once = decided(pairs, 1 - label).drop("swapped")
    twice = decided(once, 1 - label).drop("swapped")
    assert_frame_equal(twice.collect(), pairs.collect(), abs_tol=1e-15)


def test_pairs_without_a_decision_are_left_out():
    assert with_decisions(PAIRS, pl.LazyFrame({"pair_id": ["2"], "p_chosen": [0.0]})).collect().is_empty()
