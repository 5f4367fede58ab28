"""Bias towards form: a scorer that counts list items, by hand."""

import polars as pl
import pytest

from pref_assets.evaluation.base import Inputs
from pref_assets.evaluation.heldout import held_out
from pref_assets.evaluation.style import StyleBias, trait_differences
from pref_assets.home import Home
from pref_assets_tests.evaluation.conftest import PAIRS_OF
from pref_assets_tests.evaluation.fake_policies import value
from pref_assets_tests.evaluation.test_reward import scores

TEXTS = {
    "a1": "- one\n- two",
    "a2": "plain",
    "b1": "no list",
    "b2": "- a\n- b\n- c",
    "b3": "**bold** only",
    "c1": "same",
    "c2": "same!",
}


@pytest.fixture
def styled(inputs):
    turns = [[{"role": "assistant", "content": TEXTS.get(name, "x")}] for name in inputs.completions["completion_id"]]
    completions = inputs.completions.with_columns(
        messages=pl.Series(turns, dtype=inputs.completions.schema["messages"])
    )
    # Rewards list items: p1 +2, p2 -3, p3 -3, p4 0, p5 0.
    table = scores(**dict(zip(PAIRS_OF, (2.0, -3.0, -3.0, 0.0, 0.0, 0.0, 0.0), strict=True)))
    return Inputs(inputs.pairs, inputs.prompts, completions, {"lists": table})


def test_amounts(styled):
    test = held_out(styled.pairs, styled.completions)
    found = trait_differences(test, styled.completions, ["lists", "bold"])
    assert found.sort("pair_id").rows() == [
        ("p1", 2.0, 0.0),
        ("p2", -3.0, 0.0),
        ("p3", -3.0, 1.0),
        ("p4", 0.0, -1.0),
        ("p5", 0.0, 0.0),
    ]


def test_a_scorer_that_counts_items(styled, tmp_path):
    rows = StyleBias(scores=["lists"], traits=["lists", "bold", "code"], resamples=100).rows(styled, Home(tmp_path))
    mine = "scores/lists"
    assert value(rows, mine, "style_correlation", "trait:lists")["value"] == pytest.approx(1.0)
    # It finds the winner with more items (p1) and misses the winners with fewer (p2, p3).
    assert value(rows, mine, "accuracy_more_chosen", "trait:lists")["value"] == 1.0
    assert value(rows, mine, "accuracy_less_chosen", "trait:lists")["value"] == 0.0
    assert value(rows, mine, "style_gap", "trait:lists")["value"] == 1.0
    # Bold: more in p3 (wrong), less in p4 (tied).
    assert value(rows, mine, "style_gap", "trait:bold")["value"] == -0.5
    assert value(rows, mine, "style_bias")["value"] == 0.75
    assert rows.filter(subset="trait:code").is_empty()  # nobody writes code
    assert value(rows, "random choice", "style_gap", "trait:lists")["value"] == 0.0
