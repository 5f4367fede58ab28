"""Rewards in a pipeline: of a model, a checkpoint, a policy, its reference, sampled answers, and a subset of them."""

from pathlib import Path
from typing import Any

import pytest

from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows
from pref_assets_tests.scoring.reward.conftest import save_classifier


@pytest.fixture(scope="module")
def rewarded(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Lab:
    folder = tmp_path_factory.mktemp("rewarded")
    write_rows(folder / "data" / "first.jsonl", rows(12))
    classifier = save_classifier(folder / "classifier", pad=5)
    attributes: dict[str, Any] = {
        "name": "rewarded",
        "sources": {"made_up": {"type": "completions", "location": str(folder / "data")}},
        "pairs": {"splits": {"test": 0.2, "validation": 0.0}},
        "scores": {
            "model": {"type": "reward_model", "model": classifier, "max_length": 128},
            "trained": {"type": "reward_model", "checkpoint": "reward"},
            "hard": {"type": "ref_difficulty", "reference": "llama"},
            "implied": {"type": "implicit_reward", "checkpoint": "dpo_random", "reference": "llama"},
            "rolled": {
                "type": "rollout_reward",
                "model": str(llama),
                "n_rollouts": 2,
                "sampling": {"max_new_tokens": 4, "temperature": 0.2},
                "reward": {"type": "reward_model", "model": classifier, "max_length": 128},
            },
        },
        "subsets": {
            "random_6": {"type": "random", "budget": 6},
            "varied_6": {"type": "reward_variance", "scores": "rolled", "mode": "top_k_std", "budget": 6},
            "hard_6": {"type": "top_margin", "scores": "hard", "budget": 6},
        },
        "reference_logps": {"llama": {"model": str(llama), "max_length": 64}},
        "checkpoints": {
            "dpo_random": {"type": "policy", "subset": "random_6", "base": "llama"},
            "dpo_hard": {"type": "policy", "subset": "hard_6", "base": "llama"},
            "reward": {"type": "reward_model", "subset": "random_6", "max_length": 64, "last_layers": 0},
        },
    }
    lab = Lab(folder, attributes)
    report = lab.run()
    assert report.ok, report.failures
    return lab


@pytest.mark.parametrize("name", ["model", "trained", "hard", "implied", "rolled"])
def test_every_pair_has_its_scores(rewarded: Lab, name: str) -> None:
    found, pairs = rewarded.read("scores", name), rewarded.read("pairs", "pairs")
    assert found["pair_id"].to_list() == pairs["pair_id"].sort().to_list()
    assert found["score"].null_count() == 0
    assert found["score"].n_unique() > 1


def test_a_subset_by_reference_difficulty_trains_a_policy_of_that_reference(rewarded: Lab) -> None:
    assert rewarded.read("subsets", "hard_6")["selected"].sum() == 6
    assert rewarded.read("scores", "trained")["category"].is_in(["trained_on"]).sum() == 6
    assert rewarded.metadata("checkpoints", "dpo_hard")
