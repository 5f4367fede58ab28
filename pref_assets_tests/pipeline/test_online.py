"""Online rounds: answers, rewards, update, each round from the one before, on the tiny model."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pref_assets.pairs.schema import ONLINE_SAMPLES
from pref_assets.pipeline.spec_errors import SpecError, parse_spec
from pref_assets.pipeline.training_checks import manifest_problems
from pref_assets.synthesis.verifiable.verifier import constraints_of, share_met
from pref_assets.training.checkpoint import METRICS, Manifest, pair_ids, read_manifest
from pref_assets_tests.pipeline.conftest import Lab, write_rows

POLICY = {"subset": "all", "base": "llama", "learning_rate": 0.01, "batch_pairs": 4, "batch_tokens": 256}
SAMPLING = {"max_new_tokens": 6, "temperature": 1.0}
SHARE = {"type": "constraints", "count": "share"}


def rows(n: int) -> list[dict[str, Any]]:
    """Prompts with two constraints that a random answer meets now and then, one that it never meets, and two answers
    to learn a reward from."""
    stated = [
        {"family": "letter_case", "case": "lower"},
        {"family": "max_words", "n": 4},
        {"family": "json", "keys": ["a"]},
    ]
    return [
        {
            "prompt": f"Say number {i} in few words.",
            "metadata": {"constraints": stated},
            "completions": [
                {
                    "content": f"{'word ' * (1 + 3 * j)}{i}",
                    "ratings": [{"dimension": "overall", "value": 1.0 - j, "annotator": "a"}],
                }
                for j in range(2)
            ],
        }
        for i in range(n)
    ]


def attributes(data: Path, llama: Path) -> dict[str, Any]:
    return {
        "name": "rounds",
        "sources": {"made_up": {"type": "completions", "location": str(data)}},
        "pairs": {"splits": {"test": 0.3, "validation": 0.0}},
        "subsets": {"all": {"type": "all"}},
        "reference_logps": {"llama": {"model": str(llama), "max_length": 64, "tokens": True}},
        "checkpoints": {"reward": {"type": "reward_model", "subset": "all", "max_length": 64, "last_layers": 0}},
        "online": {
            "grpo": {
                **{"rounds": 2, "answers": 4, "sampling": SAMPLING, "reward": SHARE, "prompts": 6},
                **{"update": {"type": "grpo"}, "policy": POLICY},
            },
            "dpo": {
                **{"rounds": 2, "answers": 3, "sampling": SAMPLING, "reference": "previous"},
                **{"reward": {"type": "checkpoint", "checkpoint": "reward"}, "policy": POLICY},
            },
        },
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Lab:
    folder = tmp_path_factory.mktemp("online")
    write_rows(folder / "data" / "first.jsonl", rows(14))
    lab = Lab(folder, attributes(folder / "data", llama))
    report = lab.run()
    assert report.ok, report.failures
    return lab


def folder(lab: Lab, name: str) -> Path:
    return Path(lab.metadata("checkpoints", name)["folder"].value)


def manifest(lab: Lab, name: str) -> Manifest:
    return read_manifest(folder(lab, name))


def steps(lab: Lab, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder(lab, name) / METRICS).read_text().splitlines()]


def test_samples_are_rewarded_answers_to_train_prompts(done: Lab) -> None:
    prompts = done.read("pairs", "prompts")
    found = done.read("samples", "grpo_1")
    assert found.schema == ONLINE_SAMPLES.schema
    assert found.group_by("prompt_id").agg(pl.col("count").sum())["count"].to_list() == [4] * 6
    assert set(prompts.join(found, on="prompt_id", how="semi")["split"]) == {"train"}
    stated = dict(prompts.select("prompt_id", "metadata").iter_rows())
    for row in found.to_dicts():
        said = row["messages"][0]["content"]
        assert row["reward"] == share_met(constraints_of(stated[row["prompt_id"]]), said)
        assert 0 < row["sampled_tokens"] <= row["n_tokens"]
        assert row["sampled_tokens"] <= 6
        assert row["sampler_logp"] < 0
        drawn = math.fsum(row["reference_tokens"][: row["sampled_tokens"]])
        # In the first round the policy that drew them is the reference.
        assert row["sampler_logp"] == pytest.approx(drawn, abs=1e-4)
    other = done.read("samples", "grpo_2")
    assert set(other["completion_id"]) != set(found["completion_id"])


def test_every_round_goes_on_from_the_one_before(done: Lab) -> None:
    first, second = manifest(done, "grpo_1"), manifest(done, "grpo_2")
    assert (first.start, first.reference_checkpoint, second.reference_checkpoint) == (None, None, None)
    assert second.start is not None
    assert second.start.version == first.version
    moved = manifest(done, "dpo_2")
    assert moved.start is not None
    assert moved.reference_checkpoint is not None
    assert moved.start.version == moved.reference_checkpoint.version == manifest(done, "dpo_1").version


def test_a_round_begins_on_policy(done: Lab) -> None:
    first, second = steps(done, "grpo_1")[0], steps(done, "grpo_2")[0]
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert first["clipped"] == second["clipped"] == 0
    assert second["kl"] > 1e-6  # The reference stayed where it was.
    for name in ("dpo_1", "dpo_2"):
        assert steps(done, name)[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_manifests_pin_the_samples_and_list_the_rows_that_they_made(done: Lab) -> None:
    for name in ("grpo_1", "dpo_2"):
        its = manifest(done, name)
        assert its.tables["online_samples"].key == ["rounds", "samples", name]
        assert len(pair_ids(folder(done, name))) == its.n_pairs > 0
        assert manifest_problems(folder(done, name), done.tables) == []


def test_a_reward_model_of_the_pipeline_rewards(done: Lab) -> None:
    found = done.read("samples", "dpo_1")
    assert found["reward"].is_finite().all()
    assert found["reward"].n_unique() > 1


def test_errors_are_found_before_anything_runs(tmp_path: Path, llama: Path) -> None:
    good = attributes(tmp_path, llama)

    def entry(**changes: Any) -> dict[str, Any]:
        return {"online": {"grpo": {**good["online"]["grpo"], **changes}}}

    short = {"reference_logps": {"llama": {**good["reference_logps"]["llama"], "tokens": False}}}
    cases: dict[str, dict[str, Any]] = {
        "set `tokens: true` in reference_logps.llama": short,
        "online.grpo: policy.objective: update `grpo` has a loss of its own": entry(
            policy={**POLICY, "objective": {"type": "dpo", "beta": 0.5}}
        ),
        "answers of 60 tokens leave no room for a prompt": entry(sampling={"max_new_tokens": 60}),
        "sampling.temperature is 0": entry(sampling={"temperature": 0}),
        "reward.checkpoint: 'grpo_1' is a policy, this takes a reward_model; known: reward": entry(
            reward={"type": "checkpoint", "checkpoint": "grpo_1"}
        ),
        "no checkpoints named 'rewards'; known: ": entry(reward={"type": "checkpoint", "checkpoint": "rewards"}),
        "policy_gradient` learns from rewarded samples; use `online`": {
            "checkpoints": {
                **good["checkpoints"],
                "alone": {**POLICY, "type": "policy", "objective": {"type": "policy_gradient"}},
            }
        },
        "`samples` and `update` belong together": {
            "checkpoints": {**good["checkpoints"], "alone": {**POLICY, "type": "policy", "samples": "grpo_1"}}
        },
        "no samples named 'grpo_3'; known: dpo_1, dpo_2, grpo_1, grpo_2": {
            "checkpoints": {
                **good["checkpoints"],
                "alone": {**POLICY, "type": "policy", "samples": "grpo_3", "update": {"type": "online_dpo"}},
            }
        },
    }
    for message, changes in cases.items():
        with pytest.raises(SpecError) as caught:
            parse_spec({**good, **changes})
        assert message in str(caught.value), str(caught.value)


def test_rewards_that_do_not_differ_end_a_round_with_advice(done: Lab) -> None:
    never = {"type": "constraints", "count": "all"}
    rounds = {"flat": {**done.attributes["online"]["grpo"], "rounds": 1, "reward": never, "answers": 2, "prompts": 1}}
    more = {**done.attributes, "online": {**done.attributes["online"], **rounds}}
    lab = Lab(done.root, more, instance=done.instance)
    report = lab.run('key:"rounds/samples/flat_1" or key:"rounds/checkpoints/flat_1"')
    assert set(lab.read("samples", "flat_1")["reward"]) == {0.0}
    assert not report.ok
    assert "none has answers that update `grpo` can learn from" in " ".join(map(str, report.failures))


def test_answers_are_drawn_once(done: Lab) -> None:
    """Another reward for the same answers asks no model; it comes last, because it changes a table."""
    before = done.read("samples", "grpo_1")
    other = {**done.attributes["online"]["grpo"], "reward": {"type": "constraints", "count": "all"}}
    more = {**done.attributes, "online": {**done.attributes["online"], "grpo": other}}
    lab = Lab(done.root, more, instance=done.instance)
    assert lab.metadata("samples", "grpo_1")["prompts_answered_now"].value == 6
    report = lab.run('key:"rounds/samples/grpo_1"')
    assert report.ok, report.failures
    assert lab.metadata("samples", "grpo_1")["prompts_answered_now"].value == 0
    after = lab.read("samples", "grpo_1")
    assert after.drop("reward").equals(before.drop("reward"))
    assert set(after["reward"]) == {0.0}
