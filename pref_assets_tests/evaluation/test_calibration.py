"""Calibration: by hand, on planted probabilities, and what a temperature mends."""

import numpy as np
import polars as pl
import pytest

from pref_assets.evaluation.base import Inputs
from pref_assets.evaluation.calibration import Calibration, out_of_fold
from pref_assets.home import Home
from pref_assets.pairs.schema import COMPLETIONS, PAIR_SCORES, PAIRS
from pref_assets_tests.evaluation.fake_policies import value


def planted(margins, shares, p_correct=None, per_prompt=1):
    """Held-out pairs with these margins under the score table `s`, and votes."""
    names = [f"{i:05d}" for i in range(len(margins))]
    pairs = [
        {
            "pair_id": name,
            "prompt_id": f"q{i // per_prompt}",
            "chosen_id": f"a{name}",
            "rejected_id": f"b{name}",
            "p_chosen": share,
            "split": "test",
        }
        for i, (name, share) in enumerate(zip(names, shares, strict=True))
    ]
    turns = [{"role": "assistant", "content": "x"}]
    completions = [
        {"completion_id": f"{side}{n}", "prompt_id": f"q{i // per_prompt}", "messages": turns}
        for i, n in enumerate(names)
        for side in "ab"
    ]
    said = p_correct if p_correct is not None else [None] * len(names)
    scores = [
        {"pair_id": n, "score": m, "score_chosen": m, "score_rejected": 0.0, "p_correct": p}
        for n, m, p in zip(names, margins, said, strict=True)
    ]

    def filled(table, rows):
        return table.frame([{name: row.get(name) for name in table.columns} for row in rows])

    prompts = pl.DataFrame(schema={"prompt_id": pl.String})
    return Inputs(filled(PAIRS, pairs), prompts, filled(COMPLETIONS, completions), {"s": filled(PAIR_SCORES, scores)})


def measured(tmp_path, margins, shares, p_correct=None, **changed):
    config = Calibration(scores=["s"], resamples=100, **changed)
    return config.rows(planted(margins, shares, p_correct), Home(tmp_path))


def test_by_hand(tmp_path):
    margin = np.log(3)  # says .75
    rows = measured(tmp_path, [margin] * 3 + [-margin], [1.0, 1.0, 0.6, 0.9], bins=2)
    # Confidence .75 four times (the second bin); the favoured side has 1, 1, .6 and .1 of the votes.
    assert value(rows, "scores/s", "calibration_error")["value"] == pytest.approx(0.75 - 2.7 / 4)
    assert value(rows, "scores/s", "agreement", "bin:0.75-1.00")["value"] == pytest.approx(2.7 / 4)
    assert value(rows, "scores/s", "confidence", "bin:0.75-1.00")["value"] == pytest.approx(0.75)
    assert value(rows, "scores/s", "brier")["value"] == pytest.approx(
        np.mean(np.square([0.25, 0.25, 0.15, 0.9 - 0.25]))
    )
    assert set(rows["checkpoint"]) == {"scores/s"}  # baselines say no probabilities


def test_probabilities_of_a_table_are_used_where_it_has_them(tmp_path):
    rows = measured(tmp_path, [100.0] * 4, [1.0, 1.0, 1.0, 0.4], p_correct=[0.75] * 4)
    assert value(rows, "scores/s", "confidence", "bin:0.75-0.80")["value"] == pytest.approx(0.75)


def test_a_temperature_mends_a_wrong_scale_and_nothing_else(tmp_path):
    generator = np.random.default_rng(0)
    true = generator.normal(0, 1.5, 4000)
    label = np.where(generator.random(4000) < 1 / (1 + np.exp(-true)), 1.0, 0.0)
    right, loud = measured(tmp_path, true, label), measured(tmp_path, 4 * true, label)
    assert value(right, "scores/s", "calibration_error")["value"] < 0.03
    assert value(loud, "scores/s", "calibration_error")["value"] > 0.1
    assert value(loud, "scores/s", "calibration_error_tempered")["value"] < 0.03
    assert value(loud, "scores/s", "temperature")["value"] == pytest.approx(4, rel=0.1)
    assert value(right, "scores/s", "temperature")["value"] == pytest.approx(1, rel=0.1)
    assert value(right, "scores/s", "log_loss")["value"] < value(loud, "scores/s", "log_loss")["value"]


def test_the_temperature_of_a_fold_comes_from_the_others():
    margins, labels = np.array([1.0, -1.0, 1.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.0])
    found = out_of_fold(margins, labels, np.array([0, 1, 1, 1], np.uint64))
    assert found[0] == 0.0  # the others' margins point the wrong way on average
    assert (out_of_fold(margins, labels, np.zeros(4, np.uint64)) == margins).all()
