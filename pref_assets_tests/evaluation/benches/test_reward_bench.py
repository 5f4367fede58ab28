"""Benches in their own formats, scored by a stand-in, counted as their own code counts them."""

import json
import os
from pathlib import Path

import polars as pl
import pytest
from pydantic import TypeAdapter

from pref_assets.evaluation import EvaluationConfig
from pref_assets.evaluation.accuracy import Margins
from pref_assets.evaluation.base import CheckpointRef, Inputs, evaluate
from pref_assets.evaluation.benches import RewardBench
from pref_assets.evaluation.benches.formats import BenchRowError, read_bench
from pref_assets.evaluation.benches.measures import LLMBAR as OWN
from pref_assets.evaluation.reward import evaluate_reward_model
from pref_assets.home import Home
from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets.training import reward_model
from pref_assets_tests.evaluation.conftest import Quiet

LLMBAR = Path(os.environ.get("PREF_ASSETS_LLMBAR", "../shared/data/llmbar"))
NOTHING = Inputs(PAIRS.empty(), PROMPTS.empty(), COMPLETIONS.empty())


def written(tmp_path, rows, name="bench.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def scores(bench, by_text):
    texts = bench.unique("completion_id").select("completion_id", text=pl.col("messages").list[0].struct["content"])
    return texts.select("completion_id", score=pl.col("text").replace_strict(by_text, return_dtype=pl.Float64))


def counted(config, by_text):
    bench = config.bench()
    rows = config.counted(Margins("rm", "v1", scores(bench, by_text)), bench)
    return {(row["metric"], row["subset"]): row for row in rows}


def value(found, subset, metric="bench_score"):
    return found[metric, subset]["value"]


def one(subset, i, prompt=None):
    return {
        "id": i,
        "prompt": prompt or f"question {i}",
        "chosen": f"good {i}",
        "rejected": f"bad {i}",
        "chosen_model": "a",
        "rejected_model": "b",
        "subset": subset,
    }


def test_sections_of_reward_bench_are_weighted_by_its_counts(tmp_path):
    subsets = ["math-prm", "math-prm", "hep-go", "alpacaeval-easy", "donotanswer", "shp"]
    config = RewardBench(
        location=written(tmp_path, [one(s, i) for i, s in enumerate(subsets)]), format="reward_bench", resamples=100
    )
    # Right: one of two of math-prm, hep-go, donotanswer; tied (so wrong): alpacaeval-easy; right: shp.
    by_text = (
        {f"bad {i}": 0.0 for i in range(6)} | {f"good {i}": 1.0 for i in range(6)} | {"good 1": -1.0, "good 3": 0.0}
    )
    found = counted(config, by_text)
    assert value(found, "subset:math-prm") == 0.5
    reasoning = (984 * 0.5 + 164 * 1.0) / (984 + 164)
    assert value(found, "section:Reasoning") == pytest.approx(reasoning)
    assert (value(found, "section:Chat"), value(found, "section:Safety")) == (0.0, 1.0)
    assert ("bench_score", "section:Chat Hard") not in found
    assert value(found, "section:Prior Sets") == 1.0
    assert value(found, "all") == pytest.approx((reasoning + 0.0 + 1.0 + 0.5 * 1.0) / 3.5)
    half = counted(config.model_copy(update={"tie": 0.5}), by_text)
    assert value(half, "section:Chat") == 0.5
    assert value(found, "all", "accuracy_plus") == pytest.approx(4 / 6)


def test_the_whole_of_reward_bench_is_the_mean_of_four_sections(tmp_path):
    rows = [one(s, i) for i, s in enumerate(["alpacaeval-easy", "mt-bench-hard", "donotanswer", "hep-go"])]
    config = RewardBench(location=written(tmp_path, rows), format="reward_bench", resamples=100)
    by_text = {f"{side} {i}": float(side == "good" and i != 1) for i in range(4) for side in ("good", "bad")}
    assert value(counted(config, by_text), "all") == 0.75
    with pytest.raises(BenchRowError, match="own"):
        counted(
            RewardBench(location=written(tmp_path, [one("own", 1)]), format="reward_bench"), {"good 1": 1, "bad 1": 0}
        )


def tied(kind, question, right, wrong):
    return {
        "id": f"{kind}:{question}",
        "prompt": f"{kind} {question}",
        "chosen": right,
        "rejected": wrong,
        "num_correct": len(right),
        "total_completions": len(right) + len(wrong),
        "subset": "Ties",
    }


def test_reward_bench_2_is_best_of_four_and_ties_as_a_whole(tmp_path):
    rows = [
        {"id": "1", "prompt": "p1", "chosen": ["5"], "rejected": ["1", "2", "3"], "subset": "Math"},
        {"id": "2", "prompt": "p2", "chosen": ["3"], "rejected": ["4", "2", "1"], "subset": "Math"},
        {"id": "3", "prompt": "p3", "chosen": ["2"], "rejected": ["2.0", "1", "0"], "subset": "Focus"},
        tied("tied", 1, ["3", "2.5"], ["1"]),
        tied("ref", 1, ["4"], ["1"]),
        tied("tied", 2, ["3", "1"], ["2", "0"]),
        tied("ref", 2, ["1"], ["0.5"]),
    ]
    config = RewardBench(location=written(tmp_path, rows), format="reward_bench_2", resamples=100)
    texts = {text for row in rows for side in ("chosen", "rejected") for text in row[side]}
    found = counted(config, {text: float(text) for text in texts})
    assert (value(found, "subset:Math"), value(found, "subset:Focus")) == (0.5, 0.5)
    # Its parts are worked out in test_measures.
    ties = 0.3 * 1.5 + 0.2 + 0.01 * (0.9640275800758169 - 0.9051482536448665) / 2
    assert value(found, "subset:Ties") == pytest.approx(ties)
    assert (value(found, "all", "ties_tied"), value(found, "all", "ties_reference")) == (0.5, 1.0)
    assert value(found, "all") == pytest.approx((0.5 + 0.5 + ties) / 3)
    assert found["bench_score", "subset:Ties"]["n"] == 4
    assert found["bench_score", "subset:Focus"]["lo"] is None  # a single prompt
    bad = [{**rows[3], "id": "x"}]
    with pytest.raises(BenchRowError, match="`ref:<number>`"):
        counted(RewardBench(location=written(tmp_path, bad), format="reward_bench_2"), {"3": 3.0, "2.5": 2.5, "1": 1.0})


def test_rm_bench_reports_its_matrix_and_levels(tmp_path):
    rows = [
        {"id": "1", "prompt": "p1", "chosen": ["1", "2", "3"], "rejected": ["0.5", "1.5", "2.5"], "domain": "chat"},
        {"id": "2", "prompt": "p2", "chosen": ["5", "5.0", "5.00"], "rejected": ["4", "6", "5.000"], "domain": "math"},
        {
            "id": "3",
            "prompt": "p3",
            "chosen": ["0", "0.0", "0.00"],
            "rejected": ["0.000", "-1", "1"],
            "domain": "safety-refuse",
        },
        {
            "id": "4",
            "prompt": "p4",
            "chosen": ["9", "9.0", "9.00"],
            "rejected": ["1", "2", "3"],
            "domain": "safety-response",
        },
    ]
    config = RewardBench(location=written(tmp_path, rows), format="rm_bench", resamples=100)
    texts = {text for row in rows for side in ("chosen", "rejected") for text in row[side]}
    found = counted(config, {text: float(text) for text in texts})
    chat = {level: value(found, "domain:chat", f"{level}_accuracy") for level in ("hard", "normal", "easy")}
    assert chat == {"hard": 0.0, "normal": 1.0, "easy": 1.0}
    assert value(found, "domain:chat") == pytest.approx(2 / 3)
    # math: 5 beats 4 alone -> hard 0, normal 1/3, easy 2/3. safety: item 3 beats -1 alone, item 4 everything.
    math = [value(found, "domain:math", f"{level}_accuracy") for level in ("hard", "normal", "easy")]
    assert math == pytest.approx([0.0, 1 / 3, 2 / 3])
    safety = [value(found, "domain:safety", f"{level}_accuracy") for level in ("hard", "normal", "easy")]
    assert safety == pytest.approx([(1 / 3 + 1) / 2, (1 / 3 + 1) / 2, (1 / 3 + 1) / 2])
    assert value(found, "all", "hard_accuracy") == pytest.approx((0 + 0 + 2 / 3) / 3)
    assert value(found, "all") == pytest.approx((2 / 3 + 1 / 3 + 2 / 3) / 3)
    assert value(found, "style:concise>concise") == pytest.approx(3 / 4)
    assert value(found, "style:concise>markdown") == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("reward_bench", {"prompt": "p", "chosen": "a", "rejected": "b"}, "row 1: .*'subset' is missing"),
        ("reward_bench", {"prompt": "p", "chosen": ["a"], "rejected": "b", "subset": "s"}, "`chosen` is list"),
        ("reward_bench_2", {"prompt": "p", "chosen": [], "rejected": ["b"], "subset": "s"}, "no list of one or more"),
        ("rm_bench", {"prompt": "p", "chosen": ["a"], "rejected": ["b"], "domain": "s"}, "1 and 1 answers"),
        ("llmbar", {"input": "p", "output_1": "a", "output_2": "b", "label": 3}, "`label` is 3"),
    ],
)
def test_a_row_of_another_format_is_named(tmp_path, kind, row, message):
    with pytest.raises(BenchRowError, match=message):
        read_bench(written(tmp_path, [row]), kind)


def test_a_subset_that_does_not_occur_is_an_error(tmp_path):
    with pytest.raises(BenchRowError, match=r"no subset \['x'\]; there are \['hep-go'\]"):
        read_bench(written(tmp_path, [one("hep-go", 1)]), "reward_bench", ["x"])


def test_an_answer_without_a_score_is_an_error(tmp_path):
    config = RewardBench(location=written(tmp_path, [one("hep-go", 1)]), format="reward_bench")
    with pytest.raises(ValueError, match="no finite score for 1 answers"):
        config.counted(
            Margins("rm", "v", scores(config.bench(), {"good 1": 1.0, "bad 1": float("nan")})), config.bench()
        )


def test_a_checkpoint_is_asked_once_and_stands_beside_baselines(tmp_path, monkeypatch):
    class Longest:
        asked = 0

        def score(self, texts):
            Longest.asked += len(texts)
            return [float(len(text)) for text in texts]

    monkeypatch.setattr(reward_model, "load_reward_model", lambda folder: Longest())
    rows = [one("hep-go", i) | {"chosen": "short", "rejected": "much longer" if i else "no"} for i in range(3)]
    config = RewardBench(location=written(tmp_path, rows), format="reward_bench", resamples=200)
    inputs = Inputs(
        NOTHING.pairs,
        NOTHING.prompts,
        NOTHING.completions,
        checkpoints=[CheckpointRef("rm", "v1", "reward_model", tmp_path)],
    )
    run = lambda job: evaluate_reward_model(job, Quiet())  # noqa: E731
    first = evaluate(config, inputs, Home(tmp_path), run)
    assert evaluate(config, inputs, Home(tmp_path), run).equals(first)
    assert Longest.asked == 6
    whole = dict(first.filter(metric="bench_score", subset="all").select("checkpoint", "value").iter_rows())
    assert whole["rm"] == whole["longer wins"] == pytest.approx(1 / 3)
    assert whole["shorter wins"] == pytest.approx(2 / 3)
    assert set(whole) == {"rm", "longer wins", "shorter wins", "random choice"}
    assert first.filter(pl.col("lo") > pl.col("value")).is_empty()
    assert not first.select("checkpoint", "metric", "subset").is_duplicated().any()


def test_the_type_is_one_of_the_evaluations():
    config = TypeAdapter(EvaluationConfig).validate_python(
        {"type": "reward_bench", "location": "hf://allenai/reward-bench-2:test", "format": "reward_bench_2"}
    )
    assert isinstance(config, RewardBench)


@pytest.mark.skipif(not LLMBAR.is_dir(), reason="LLMBar is not here; PREF_ASSETS_LLMBAR names its folder")
def test_llmbar_itself():
    config = RewardBench(location=str(LLMBAR), format="llmbar", tie=0.5)
    bench = config.bench()
    assert bench.filter(side="chosen").group_by("subset").len().sort("subset").rows() == [
        ("Adversarial.GPTInst", 92),
        ("Adversarial.GPTOut", 47),
        ("Adversarial.Manual", 46),
        ("Adversarial.Neighbor", 134),
        ("Natural", 100),
        ("Processed.FairEval", 66),
        ("Processed.LLMEval2", 200),
        ("Processed.MT-Bench", 200),
    ]
    length = bench.unique("completion_id").select(
        "completion_id", score=pl.col("messages").list[0].struct["content"].str.len_chars().cast(pl.Float64)
    )
    found = {(r["metric"], r["subset"]): r for r in config.counted(Margins("longer", None, length), bench)}
    five = [value(found, f"subset:{name}") for name in OWN]
    assert value(found, "all") == pytest.approx(sum(five) / 5)
    assert value(found, "adversarial") == pytest.approx(sum(five[1:]) / 4)
    # The adversarial outputs were chosen to look better: the longer one is mostly the wrong one.
    assert value(found, "adversarial") < 0.45 < value(found, "subset:Natural")
