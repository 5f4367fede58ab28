"""Reward heads as reward models of a pipeline: fitted, kept, scored with, and kept fresh."""

from pathlib import Path
from typing import Any

import pytest

from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows

CROSS_FIT = {"folds": 2, "members": 2}


def attributes(data: Path) -> dict[str, Any]:
    return {
        "name": "headed",
        "sources": {"made_up": {"type": "completions", "location": str(data)}},
        "pairs": {"splits": {"test": 0.3, "validation": 0.0}},
        "embeddings": {"minilm": {"type": "sentence_transformer", "max_length": 64}},
        "reward_models": {
            "ensemble": {"type": "bradley_terry", "embeddings": "minilm", "members": 2, "folds": 2},
            "linear": {"type": "bt", "embeddings": "minilm", "cross_fit": CROSS_FIT},
            "margins": {
                "type": "bt",
                "embeddings": "minilm",
                "loss": "adaptive_margin",
                "margins": "strength",
                "cross_fit": CROSS_FIT,
            },
        },
        "scores": {
            "strength": {"type": "reward_ensemble", "reward_model": "ensemble"},
            "by_linear": {"type": "reward_head", "reward_model": "linear"},
            "by_margins": {"type": "reward_head", "reward_model": "margins"},
        },
        "subsets": {"top_4": {"type": "top_k", "scores": "by_margins", "budget": 4}},
    }


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("headed")
    write_rows(folder / "data" / "first.jsonl", rows(16))
    lab = Lab(folder, attributes(folder / "data"))
    report = lab.run()
    assert report.ok, report.failures
    return lab


@pytest.mark.parametrize("name", ["by_linear", "by_margins"])
def test_every_pair_is_scored(headed: Lab, name: str) -> None:
    found, pairs = headed.read("scores", name), headed.read("pairs", "pairs")
    assert found["pair_id"].to_list() == pairs["pair_id"].sort().to_list()
    assert found.select("score", "spread", "p_correct", "score_chosen").null_count().sum_horizontal().item() == 0


def test_what_a_head_measured_is_on_the_asset(headed: Lab) -> None:
    told = headed.metadata("reward_models", "linear")
    assert {"accuracy", "ece", "brier", "temperature", "train_pairs"} <= set(told)


def test_a_head_reads_the_scores_that_it_names(headed: Lab) -> None:
    keys = headed.definitions().resolve_asset_graph().get(headed.key("reward_models", "margins")).parent_keys
    assert headed.key("scores", "strength") in keys
    assert headed.key("embeddings", "minilm") in keys


def test_a_second_run_finds_the_head_fresh(headed: Lab) -> None:
    folders = sorted((headed.home.reward_models / "headed" / "linear").iterdir())
    assert headed.run().ok
    assert sorted((headed.home.reward_models / "headed" / "linear").iterdir()) == folders
