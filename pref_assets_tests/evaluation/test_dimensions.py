"""Dimension tables from results folders, and the changes that MM-RLHF reports (oracle group O10)."""

import json

import pytest

from pref_assets.evaluation import DimensionTable
from pref_assets.evaluation.base import Inputs, evaluate
from pref_assets.evaluation.dimensions.evaluation import mm_rlhf_dimensions
from pref_assets.evaluation.dimensions.results import BenchScore, ResultsError, read_results
from pref_assets.home import Home
from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS

NOTHING = Inputs(PAIRS.empty(), PROMPTS.empty(), COMPLETIONS.empty())
# Base, plain DPO on the data, MM-DPO: bars of the paper's figure; the last column is whether lower is better.
REPORTED = {
    "conversation": (55.5, 61.8, 66.3, False),
    "hallucination_score": (79.6, 83.6, 83.8, False),
    "hallucination_rate": (30.5, 30.0, 29.3, True),
    "general": (74.1, 74.6, 74.7, False),
    "chart": (77.0, 77.6, 77.3, False),
    "ocr": (75.7, 78.1, 78.2, False),
    "math": (49.2, 50.5, 50.9, False),
    "multi_image": (37.7, 38.7, 38.8, False),
    "video": (60.9, 62.5, 63.2, False),
    "real_world": (56.3, 55.3, 55.4, False),
    "safety": (75.8, 85.4, 84.8, False),
    "unsafety": (40.2, 17.1, 13.9, True),
}
PRINTED = {"conversation": 19.5, "unsafety": -65.4, "hallucination_rate": -3.47, "safety": 12.27}


def folder(path, tasks, name="20250101_000000_results.json", **more):
    """A results folder as lmms-eval writes it."""
    (path / "org__model").mkdir(parents=True, exist_ok=True)
    content = {"results": tasks, "configs": {}, "config": {"model": "llava"}, **more}
    (path / "org__model" / name).write_text(json.dumps(content))
    return str(path)


def table(config, tmp_path):
    def never(job):
        raise AssertionError("a table asks no model")

    frame = evaluate(config, NOTHING, Home(tmp_path / "home"), never)
    assert not frame.select("checkpoint", "metric", "subset").is_duplicated().any()
    return {(row["checkpoint"], row["metric"], row["subset"]): row for row in frame.iter_rows(named=True)}


@pytest.fixture
def reported(tmp_path):
    stages = ("base", "dpo", "mm_dpo")
    results = {
        stage: folder(tmp_path / stage, {each: {"score,none": bars[i]} for each, bars in REPORTED.items()})
        for i, stage in enumerate(stages)
    }
    dimensions = {
        name: {
            "better": "lower" if lower else "higher",
            "benches": {name: {"task": name, "metrics": ["score"], "high": 100}},
        }
        for name, (*_, lower) in REPORTED.items()
    }
    return {"results": results, "dimensions": dimensions}


def test_reported_changes(reported, tmp_path):
    found = table(DimensionTable(**reported, baseline="base"), tmp_path)
    for name, (base, _, final, lower) in REPORTED.items():
        subset = f"dimension:{name} vs:base"
        assert found["mm_dpo", "relative_change", subset]["value"] == pytest.approx(100 * (final - base) / base)
        gain = (base - final) if lower else (final - base)
        assert found["mm_dpo", "gain", subset]["value"] == pytest.approx(gain)
    for name, printed in PRINTED.items():
        value = found["mm_dpo", "relative_change", f"dimension:{name} vs:base"]["value"]
        assert value == pytest.approx(printed, abs=0.5)


def test_what_scaling_adds_to_plain_dpo(reported, tmp_path):
    found = table(DimensionTable(**reported, baseline="dpo"), tmp_path)
    changes = {name: found["mm_dpo", "change", f"dimension:{name} vs:dpo"]["value"] for name in REPORTED}
    assert changes["conversation"] == pytest.approx(4.5)
    assert changes["chart"] == pytest.approx(-0.3)
    assert changes["safety"] == pytest.approx(-0.6)
    assert changes["unsafety"] == pytest.approx(-3.2)
    assert all(abs(value) < 0.75 for name, value in changes.items() if name not in ("conversation", "unsafety"))


TASKS = {
    "ai2d": {"alias": "ai2d", "exact_match,flexible-extract": 0.8, "exact_match_stderr,flexible-extract": 0.01},
    "chartqa": {"relaxed_overall,none": 0.6, "relaxed_overall_stderr,none": 0.02},
    "mme": {"mme_perception_score,none": 1500.0, "mme_cognition_score,none": 400.0},
    "mmhal_bench": {"mmhal_bench_average_score,none": 3.0, "hallucination_rate,none": 0.25},
    "pope": {"pope_accuracy,none": "N/A"},
}


def test_the_dimensions_of_the_paper(tmp_path):
    counts = {"n-samples": {"ai2d": {"original": 100, "effective": 50}, "chartqa": {"original": 30}}}
    found = table(DimensionTable(results={"m": folder(tmp_path / "m", TASKS, **counts)}), tmp_path)
    chart = found["m", "dimension_score", "dimension:chart_doc"]
    # The two that are there; two others are missing, not 0.
    assert chart["value"] == pytest.approx((80 + 60) / 2)
    assert chart["hi"] - chart["value"] == pytest.approx(1.959963984540054 * (1 + 4) ** 0.5 / 2)
    assert (chart["n"], found["m", "missing_benches", "dimension:chart_doc"]["value"]) == (80, 2)
    assert found["m", "bench_score", "bench:general/MME"]["value"] == pytest.approx(100 * 1900 / 2800)
    # A number that is none is missing; scores and rates of one bench are different dimensions.
    assert found["m", "dimension_score", "dimension:hallucination_score"]["value"] == 50
    assert found["m", "missing_benches", "dimension:hallucination_score"]["value"] == 1
    assert found["m", "dimension_score", "dimension:hallucination_rate"]["value"] == 25
    assert ("m", "dimension_score", "dimension:ocr") not in found
    assert found["m", "missing_benches", "dimension:ocr"]["value"] == 3


def test_only_benches_of_both_are_compared(tmp_path):
    other = {"ai2d": {"exact_match,flexible-extract": 0.7}, "docvqa_val": {"anls,none": 0.1}}
    results = {"before": folder(tmp_path / "before", other), "after": folder(tmp_path / "after", TASKS)}
    found = table(DimensionTable(results=results, baseline="before"), tmp_path)
    assert found["after", "change", "dimension:chart_doc vs:before"]["value"] == pytest.approx(10)
    assert not any(subset.endswith("vs:before") and name == "before" for name, _, subset in found)


def test_directions_and_lists_are_whole():
    dimensions = mm_rlhf_dimensions()
    assert {name for name, each in dimensions.items() if each.better == "lower"} == {"hallucination_rate", "unsafety"}
    assert len(dimensions) == 12
    assert sum(len(dimensions[each].benches) for each in ("safety", "unsafety")) == 11


def test_folders_that_are_none(tmp_path):
    with pytest.raises(ResultsError, match="no results of lmms-eval"):
        read_results(str(tmp_path), "refuse")
    place = folder(tmp_path / "m", TASKS)
    folder(tmp_path / "m", {"mme": {"mme_perception_score,none": 1.0}}, "20250202_000000_results.json")
    with pytest.raises(ResultsError, match=r"task 'mme' is in .*20250101.* and in .*20250202"):
        read_results(place, "refuse")
    assert read_results(place, "newest")["mme"].numbers == {"mme_perception_score,none": 1.0}
    (tmp_path / "m" / "org__model" / "20250303_results.json").write_text('{"results": 3}')
    with pytest.raises(ResultsError, match=r"20250303_results\.json: no results"):
        read_results(place, "newest")


@pytest.mark.parametrize(
    ("bench", "message"),
    [
        ({"task": "mme", "metrics": ["mme_perception_score"]}, "outside its scale of 0 to 1"),
        ({"task": "ai2d", "metrics": ["exact_match"]}, "name one with its filter"),
        ({"task": "nothing", "metrics": ["x"]}, "none of the dimensions' benches; their tasks are"),
    ],
)
def test_results_that_do_not_fit(tmp_path, bench, message):
    tasks = {**TASKS, "ai2d": {"exact_match,none": 0.5, "exact_match,flexible-extract": 0.6}}
    config = DimensionTable(results={"m": folder(tmp_path / "m", tasks)}, dimensions={"d": {"benches": {"b": bench}}})
    with pytest.raises(ResultsError, match=message):
        table(config, tmp_path)


def test_settings():
    with pytest.raises(ValueError, match="which `results` does not name"):
        DimensionTable(results={"m": "x"}, baseline="other")
    with pytest.raises(ValueError, match="the scale must rise"):
        BenchScore(task="t", metrics=["m"], low=1, high=1)
    # `checkpoints: all` means nothing here.
    assert DimensionTable(results={"m": "x"}).names() == []
