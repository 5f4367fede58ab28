import numpy as np
import polars as pl
import pytest

from pref_assets.pairs.schema import PROVEN, TRIALS
from pref_assets.proving.report import markdown, plot, ranked
from pref_assets.proving.results import comparisons, proven, refusals


def trials(gains: dict[str, list[float]], budget: str = "25%") -> pl.DataFrame:
    """Trials in one world, accuracy 0.5 + gain against random 0.5, a seed for each gain."""
    rows = []
    for method, values in gains.items():
        for seed, gain in enumerate(values):
            head = {"method": method, "type": method, "budget": budget, "world": "w", "flips": 0.2, "seed": seed}
            for metric, value in {"accuracy": 0.5 + gain, "accuracy_random": 0.5, "kept": 10.0}.items():
                rows.append({**head, "metric": metric, "value": value})
    return TRIALS.frame(rows)


def test_differences_are_paired_with_student_intervals() -> None:
    found = proven(trials({"a": [0.1, 0.2, 0.3]}))
    assert found.schema == PROVEN.schema
    row = found.filter(world="every", metric="vs_random").row(0, named=True)
    half = 4.302652729696142 * 0.1 / np.sqrt(3)  # t quantile of 2 degrees of freedom
    assert row["value"] == pytest.approx(0.2)
    assert (row["lo"], row["hi"]) == pytest.approx((0.2 - half, 0.2 + half))
    assert row["n"] == 3


def test_p_values_are_holm_adjusted_over_all_methods() -> None:
    gains = {"a": [0.1, 0.2, 0.3], "b": [0.01, -0.02, 0.015], "c": [0.3, 0.31, 0.29]}
    alone = {m: proven(trials({m: v})).filter(world="every", metric="vs_random")["p"][0] for m, v in gains.items()}
    together = proven(trials(gains)).filter(world="every", metric="vs_random")
    adjusted = dict(together.select("method", "p").rows())
    smallest, middle, largest = sorted(alone, key=lambda m: alone[m])
    assert adjusted[smallest] == pytest.approx(min(1, 3 * alone[smallest]))
    assert adjusted[middle] == pytest.approx(max(adjusted[smallest], min(1, 2 * alone[middle])))
    assert adjusted[largest] == pytest.approx(max(adjusted[middle], alone[largest]))
    assert comparisons(proven(trials(gains))) == 3


def test_the_mean_over_worlds_is_of_seeds_that_worked_everywhere() -> None:
    first, second = trials({"a": [0.1, 0.3]}), trials({"a": [0.2, 0.4]}).with_columns(world=pl.lit("v"))
    refused = second.with_columns(
        value=pl.when(pl.col("seed") == 1).then(None).otherwise("value"),
        problem=pl.when(pl.col("seed") == 1).then(pl.lit("too few")),
    )
    both = proven(pl.concat([first, second])).filter(world="every", metric="vs_random").row(0, named=True)
    assert (both["value"], both["n"]) == (pytest.approx(0.25), 2)
    some = proven(pl.concat([first, refused])).filter(world="every", metric="vs_random").row(0, named=True)
    assert (some["value"], some["n"], some["lo"]) == (pytest.approx(0.15), 1, None)
    assert refusals(pl.concat([first, refused]))["refused"].sum() == 3


def test_the_report_names_every_method_and_counts_comparisons() -> None:
    found = proven(
        pl.concat(
            [trials({"good": [0.1, 0.11, 0.12], "bad": [-0.1, -0.12, -0.09]}), trials({"good": [0.0, 0.1, 0.2]}, "50%")]
        )
    )
    text = markdown(found, refusals(TRIALS.empty()), "Three trials.")
    assert "3 such comparisons" in text
    assert text.index("`good` | 25%") < text.index("`bad` | 25%")
    assert "**+0.110 [+0.085, +0.135]**" in text
    assert ranked(found)["method"].to_list()[-1] == "bad"
    assert plot(found, 60).startswith(b"\x89PNG")


def test_no_trials_is_no_verdict() -> None:
    assert proven(TRIALS.empty()).is_empty()
    with pytest.raises(ValueError, match="no method was compared"):
        plot(PROVEN.empty(), 60)
