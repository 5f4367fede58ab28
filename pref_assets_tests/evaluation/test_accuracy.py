"""Accuracies and length bias of five pairs, counted by hand."""

import numpy as np
import polars as pl
import pytest

from pref_assets.evaluation.accuracy import (
    Margins,
    accuracy_rows,
    baseline_margins,
    correlation,
    length_bias_rows,
    paired_rows,
    plus_rows,
    recorded_rows,
)
from pref_assets.evaluation.heldout import held_out
from pref_assets.evaluation.intervals import wilson
from pref_assets.pairs.schema import EVALUATIONS

MARGIN = {"p1": 1.0, "p2": -2.0, "p3": -1.0, "p4": 3.0, "p5": 0.0}


@pytest.fixture
def test_pairs(inputs, truth):
    return held_out(inputs.pairs, inputs.completions, truth)


def scorer(tie=0.0, **changed):
    margins = {**MARGIN, **changed}
    frame = pl.DataFrame({"pair_id": list(margins), "margin": list(margins.values())})
    return Margins("model", "v1", frame, tie=tie)


def values(rows, name="model"):
    return {(r["metric"], r["subset"]): r["value"] for r in rows if r["checkpoint"] == name}


def test_accuracy_by_slice_and_against_the_truth(test_pairs):
    rows = accuracy_rows([scorer()], test_pairs, "accuracy")
    found = values(rows)
    assert found["accuracy", "all"] == pytest.approx((1 + 0 + 0 + 1 + 0.5) / 5)
    assert found["accuracy", "family:include"] == pytest.approx(1 / 3)
    assert found["accuracy", "fault:flip"] == 0.5
    assert found["accuracy", "fault:none"] == 0.0
    # p3's label is false and the scorer disagrees with it, p4's is true: right twice.
    assert found["accuracy_true", "all"] == 1.0
    assert found["accuracy_true", "fault:flip"] == 1.0
    assert ("accuracy_true", "fault:none") not in found
    EVALUATIONS.frame(rows)


def test_the_recorded_label_is_right_half_the_time(test_pairs):
    assert values(recorded_rows(test_pairs, "accuracy"), "recorded label") == {
        ("accuracy_true", "all"): 0.5,
        ("accuracy_true", "family:include"): 0.5,
        ("accuracy_true", "family:max_words"): 0.5,
        ("accuracy_true", "fault:flip"): 0.5,
    }


def test_without_truth_there_is_no_truth_metric(inputs):
    test = held_out(inputs.pairs, inputs.completions)
    rows = accuracy_rows([scorer()], test, "accuracy") + recorded_rows(test, "accuracy")
    assert {(r["metric"], r["subset"]) for r in rows} == {("accuracy", "all")}


def test_baselines_are_rows_of_the_table(test_pairs):
    rows = accuracy_rows(baseline_margins(test_pairs), test_pairs, "accuracy")
    assert values(rows, "longer wins")["accuracy", "all"] == pytest.approx((1 + 0.5) / 5)
    assert values(rows, "shorter wins")["accuracy", "all"] == pytest.approx((3 + 0.5) / 5)
    assert values(rows, "random choice")["accuracy", "all"] == 0.5
    assert all(r["baseline"] and r["version"] is None for r in rows)
    chance = next(r for r in rows if (r["checkpoint"], r["subset"]) == ("random choice", "all"))
    # Three prompts, so the interval of chance is that of three independent answers.
    assert (chance["lo"], chance["hi"]) == pytest.approx(wilson(1.5, 3))


def test_small_margins_are_ties(test_pairs):
    rows = accuracy_rows([scorer(tie=1.0)], test_pairs, "accuracy")
    assert values(rows)["accuracy", "all"] == pytest.approx((0.5 + 0 + 0.5 + 1 + 0.5) / 5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_a_margin_that_is_no_number_is_named(test_pairs, bad):
    with pytest.raises(ValueError, match="model: no finite margin for 1 of 5 held-out pairs, such as p4"):
        accuracy_rows([scorer(p4=bad)], test_pairs, "accuracy")


def test_a_pair_without_a_margin_is_named(test_pairs):
    short = Margins("model", "v1", scorer().frame.filter(pl.col("pair_id") != "p2"))
    with pytest.raises(ValueError, match="such as p2"):
        accuracy_rows([short], test_pairs, "accuracy")


def test_length_bias_by_hand(test_pairs):
    rows = length_bias_rows([scorer(), *baseline_margins(test_pairs)], test_pairs, seed=0, resamples=100)
    found = values(rows)
    # Longer chosen: p3 (wrong). Shorter chosen: p1 right, p2 wrong, p4 right. p5 is neither.
    assert found["accuracy_longer_chosen", "all"] == 0.0
    assert found["accuracy_shorter_chosen", "all"] == pytest.approx(2 / 3)
    assert found["accuracy_length_gap", "all"] == pytest.approx(-2 / 3)
    # margins 1 -2 -1 3 0 (mean 0.2), lengths -5 -4 4 -8 0 (mean -2.6)
    deviations = np.array([0.8, -2.2, -1.2, 2.8, -0.2]), np.array([-2.4, -1.4, 6.6, -5.4, 2.6])
    expected = (deviations[0] @ deviations[1]) / np.sqrt(14.8 * (5.76 + 1.96 + 43.56 + 29.16 + 6.76))
    assert found["length_correlation", "all"] == pytest.approx(expected)
    assert values(rows, "longer wins")["length_correlation", "all"] == pytest.approx(1)
    assert values(rows, "longer wins")["accuracy_length_gap", "all"] == 1.0
    assert values(rows, "shorter wins")["accuracy_length_gap", "all"] == -1.0
    assert values(rows, "random choice")["accuracy_length_gap", "all"] == 0.0
    assert ("length_correlation", "all") not in values(rows, "random choice")


def test_correlation_needs_variation():
    assert np.isnan(correlation(np.ones(3), np.arange(3.0)))
    assert np.isnan(correlation(np.ones(1), np.ones(1)))


def graded(*right):
    """Pairs of prompts a, b, … (a word for each, a letter a pair: right, wrong or tied) and margins to match."""
    marks = [(group, mark) for group, word in zip("abcdef", right, strict=False) for mark in word]
    test = pl.DataFrame({"pair_id": [f"{i:02d}" for i in range(len(marks))], "group": [group for group, _ in marks]})
    margins = [{"r": 1.0, "w": -1.0, "t": 0.0}[mark] for _, mark in marks]
    return test, Margins("model", "v1", test.select("pair_id", margin=pl.Series(margins)))


@pytest.mark.parametrize(
    ("right", "plus"),
    [(("rrr", "rrw"), 1 / 2), (("rrr", "rrw", "t"), 1 / 3), (("rrr", "rrr"), 1.0), (("wwwwwwwww", "r"), 1 / 2)],
)
def test_accuracy_plus_counts_prompts(right, plus):
    test, scorer = graded(*right)
    [found] = plus_rows([scorer], test)
    assert (found["value"], found["n"]) == (pytest.approx(plus), len(right))


def test_differences_are_paired(test_pairs):
    ours, theirs = scorer(), Margins("other", "v2", scorer(p2=1.0).frame)
    rows = paired_rows([ours, theirs, *baseline_margins(test_pairs)], test_pairs, "accuracy", 0, 500)
    found = {(r["checkpoint"], r["subset"]): r for r in rows}
    assert set(found) == {("model", "vs:other"), ("other", "vs:model")}
    # They differ on p2 alone: -1/5.
    gap, back = found["model", "vs:other"], found["other", "vs:model"]
    assert gap["value"] == pytest.approx(-0.2)
    assert gap["lo"] <= -0.2 <= gap["hi"] == 0.0
    assert (back["value"], back["lo"], back["hi"]) == (-gap["value"], -gap["hi"], -gap["lo"])
