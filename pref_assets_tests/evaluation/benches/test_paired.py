"""ACC and ACC+ on hand-worked pairs (MM-RLHF's oracle group O6), and what must hold of any rewards."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.evaluation.benches.paired import PAIR_REWARDS, category_of, pair_accuracies

NAN = float("nan")


def accuracies(rows, category="short", resamples=100):
    """(metric, subset) -> Counted of (id, chosen, rejected) or (id, chosen, rejected, category)."""
    filled = [(str(i), group, (*rest, category)[0], c, r) for i, (group, c, r, *rest) in enumerate(rows)]
    frame = pl.DataFrame(filled, schema=PAIR_REWARDS, orient="row")
    return {(each.metric, each.subset): each.drawn for each in pair_accuracies(frame, 0, resamples)}


def both(rows):
    found = accuracies(rows)
    return found["accuracy", "all"].value, found["accuracy_plus", "all"].value


RIGHT, WRONG = (1.0, 0.0), (0.0, 1.0)
A = [*[("a", *RIGHT)] * 3, *[("b", *RIGHT)] * 2, ("b", *WRONG)]
B = [*A, ("c", 0.5, 0.5)]
LARGE = [(f"p{i % 50}", *(WRONG if i == 7 else RIGHT)) for i in range(170)]


@pytest.mark.parametrize(
    ("rows", "accuracy", "plus"),
    [
        (A, 0.8333333333, 0.5),
        (B, 0.7142857143, 0.3333333333),
        ([(name, *RIGHT) for name, *_ in B], 1, 1),
        (LARGE, 0.9941176471, 0.98),
        # Prompts of unequal sizes: ACC+ may lie above ACC.
        ([("1", *RIGHT)] + [("1", *WRONG)] * 9 + [("2", *RIGHT)], 2 / 11, 0.5),
        ([("1", *WRONG)] * 9 + [("2", *RIGHT)], 0.1, 0.5),
    ],
)
def test_numbers_of_the_method_page(rows, accuracy, plus):
    assert both(rows) == pytest.approx((accuracy, plus), abs=1e-9)


@pytest.mark.parametrize(("chosen", "rejected"), [(1, 1), (NAN, 0), (1, NAN), (NAN, NAN), (None, 0), (1, None)])
def test_equal_and_missing_rewards_are_wrong_and_said_to_be_undecided(chosen, rejected):
    found = accuracies([("a", chosen, rejected), ("b", *RIGHT)])
    assert found["accuracy", "all"].value == found["accuracy_plus", "all"].value == 0.5
    assert found["undecided", "all"].value == 0.5


def test_infinite_rewards_compare():
    assert both([("a", math.inf, 1), ("a", 1, -math.inf)]) == (1, 1)


def test_prompts_are_grouped_in_each_category():
    rows = [("a", *RIGHT, "short"), ("a", *WRONG, "long"), ("b", *RIGHT, "short"), ("c", *RIGHT, "uncategorised")]
    found = {key: each.value for key, each in accuracies(rows).items()}
    assert found["accuracy_plus", "category:short"] == 1
    assert found["accuracy_plus", "category:long"] == 0
    assert found["accuracy", "category:uncategorised"] == 1
    assert (found["accuracy", "all"], found["accuracy_plus", "all"]) == (0.75, pytest.approx(2 / 3))
    # No row speaks of a category that has no pair.
    assert {subset for _, subset in found} == {"all", *(f"category:{c}" for c in ("short", "long", "uncategorised"))}


def test_intervals_resample_prompts():
    found = accuracies(LARGE, resamples=1000)
    plus = found["accuracy_plus", "all"].estimate()
    assert plus.lo < 0.98 <= plus.hi
    assert (plus.n, found["accuracy", "all"].n) == (50, 170)
    assert accuracies([("a", *RIGHT)])["accuracy_plus", "all"].estimate().lo is None


def test_nothing_and_twice():
    with pytest.raises(ValueError, match="no pair was judged"):
        pair_accuracies(PAIR_REWARDS.to_frame(), 0, 100)
    twice = pl.DataFrame([("p", "a", "short", 1.0, 0.0)] * 2, schema=PAIR_REWARDS, orient="row")
    with pytest.raises(ValueError, match="judged twice"):
        pair_accuracies(twice, 0, 100)


reward = st.one_of(st.integers(-5, 5).map(float), st.just(NAN))
judged = st.lists(st.tuples(st.sampled_from("abcd"), reward, reward), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(judged, st.permutations(range(12)))
def test_whatever_the_rewards(rows, order):
    accuracy, plus = both(rows)
    assert (plus == 1) == (accuracy == 1)
    assert both([(name, math.exp(c) + c, math.exp(r) + r) for name, c, r in rows]) == (accuracy, plus)
    assert both([rows[i] for i in order if i < len(rows)]) == (accuracy, plus)
    alone = [(str(i), c, r) for i, (_, c, r) in enumerate(rows)]
    assert both(alone) == (accuracy, accuracy)


@pytest.mark.parametrize(
    ("path", "category"),
    [
        ("short/long_dog.png", "short"),
        ("./mcq/1.png", "mcq"),
        ("video/clip_1", "video"),
        ("data/short/1.png", "uncategorised"),
        ("short.png", "uncategorised"),
        ("../short/1.png", "uncategorised"),
        ("/short/1.png", "uncategorised"),
        ("", "uncategorised"),
        (None, "uncategorised"),
    ],
)
def test_the_category_is_the_first_folder(path, category):
    assert category_of(path, ("mcq", "long", "short", "safety", "video")) == category


def test_any_folder_where_no_categories_are_named():
    assert category_of("charts/1.png", None) == "charts"
