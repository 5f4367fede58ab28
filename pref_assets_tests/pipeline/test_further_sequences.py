"""Objectives with further sequences, as assets: their references, their texts, their answers drawn while training."""

import json
from pathlib import Path
from typing import Any

import pytest

from pref_assets.pipeline.spec_errors import SpecError
from pref_assets.training.checkpoint import METRICS
from pref_assets_tests.pipeline.conftest import Lab, write_rows

POLICY = {
    "type": "policy",
    "subset": "all",
    "base": "llama",
    "batch_pairs": 4,
    "batch_tokens": 512,
    "learning_rate": 0.01,
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "hierarchical": {"type": "hierarchical_dpo"},
    "with_reasons": {"type": "rdpo", "gamma": 0.1, "rationale": "specific"},
    "held": {"type": "hypo", "lam": 0.1, "max_new_tokens": 4},
}


def rows(n: int) -> list[dict[str, Any]]:
    """Prompts with a good and a bad answer of several sentences, rated on two dimensions."""

    def answer(text: str, overall: float, truth: float) -> dict[str, Any]:
        values = {"overall": overall, "truth": truth}
        return {
            "content": text,
            "ratings": [{"dimension": name, "value": value, "annotator": "a"} for name, value in values.items()],
        }

    return [
        {
            "prompt": f"Say something about number {i}.",
            "completions": [
                answer(f"It is {i}. It is a number. One more is {i + 1}.", 5.0, 4.0),
                answer(f"I will not. Ask again. Number {i} bores me.", 1.0, 3.0),
            ],
        }
        for i in range(n)
    ]


def attributes(data: Path, llama: Path) -> dict[str, Any]:
    return {
        "name": "further",
        "sources": {"made_up": {"type": "completions", "location": str(data)}},
        "pairs": {"splits": {"test": 0.3, "validation": 0.0}},
        "subsets": {"all": {"type": "all"}},
        "reference_logps": {"llama": {"model": str(llama), "max_length": 128}},
        "checkpoints": {name: {**POLICY, "objective": objective} for name, objective in OBJECTIVES.items()},
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Lab:
    folder = tmp_path_factory.mktemp("further")
    write_rows(folder / "data" / "first.jsonl", rows(12))
    lab = Lab(folder, attributes(folder / "data", llama))
    report = lab.run()
    assert report.ok, report.failures
    return lab


def first_step(lab: Lab, name: str) -> dict[str, float]:
    folder = Path(lab.metadata("checkpoints", name)["folder"].value)
    return json.loads((folder / METRICS).read_text().splitlines()[0])


def test_every_one_trains_on_the_sequences_it_asked_for(done: Lab) -> None:
    views = first_step(done, "hierarchical")
    assert all(views[f"loss/{name}"] == pytest.approx(0.6931, abs=1e-3) for name in ("boundary", "structure"))
    reasons = first_step(done, "with_reasons")
    assert reasons["rdpo/rationales"] == 1
    assert reasons["rdpo/nll_per_token"] > 0
    assert first_step(done, "held")["reverse_kl"] == pytest.approx(0, abs=1e-3)


def test_references_are_of_the_sides_and_of_views_alone(done: Lab) -> None:
    trained = len(done.read("subsets", "all").filter("selected"))
    assert trained > 3
    # Two sides and three views; rationales and drawn answers have no place in the store.
    assert len(done.read("reference_logps", "llama")) == 5 * trained


def test_a_reference_is_made_again_for_an_objective_that_asks_for_more(done: Lab) -> None:
    changed = {**done.attributes, "checkpoints": {"two_prompts": {**POLICY, "objective": {"type": "dcpo"}}}}
    lab = Lab(done.root, changed, instance=done.instance)
    report = lab.run()
    assert report.ok, report.failures
    trained = len(done.read("subsets", "all").filter("selected"))
    assert len(lab.read("reference_logps", "llama")) == 3 * trained


def test_an_answer_that_no_row_brings_is_an_error_before_anything_runs(done: Lab) -> None:
    changed = {**done.attributes, "checkpoints": {"exploring": {**POLICY, "objective": {"type": "selm"}}}}
    with pytest.raises(SpecError, match=r"checkpoints\.exploring\.objective: .* set its `samples` to draw them"):
        _ = Lab(done.root, changed, instance=done.instance).spec
