"""MM-DPO on images, from pairs to a policy whose own reward is read with the images it learned from."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.pipeline.withdraw import impact_of
from pref_assets_tests.pipeline.conftest import Lab, write_rows
from pref_assets_tests.pipeline.test_images import rows


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("seen")
    write_rows(root / "data" / "dpo_pairs.jsonl", rows(root / "images")[:-1])
    model = str(tiny_llava(root / "llava"))
    mm_dpo = {"type": "mm_dpo", "delta": "likely", "w": 0.5, "k": 0.5, "sft": 0.25}
    reads = {"model": model, "max_length": 64}
    lab = Lab(
        root,
        {
            "name": "seen",
            "sources": {
                "colours": {"type": "mm_rlhf", "location": str(root / "data"), "image_folder": str(root / "images")}
            },
            "pairs": {"splits": {"test": 0.25, "validation": 0.0}},
            "scores": {
                "likely": {"type": "likelihood", **reads},
                "hard": {"type": "ifd", **reads},
                "moved": {"type": "implicit_reward", "checkpoint": "mm", "reference": "llava"},
            },
            "subsets": {"all": {"type": "all"}, "two": {"type": "random", "budget": 2}},
            "reference_logps": {"llava": reads},
            "checkpoints": {
                "mm": {
                    "type": "policy",
                    "subset": "all",
                    "base": "llava",
                    "objective": mm_dpo,
                    "lora": {"r": 4, "last_layers": 1},
                    "gradient_checkpointing": True,
                    "batch_pairs": 3,
                    "epochs": 2,
                    "learning_rate": 0.01,
                },
                # Its gaps are rewards of the policy above, which saw every pair.
                "after": {
                    "type": "policy",
                    "subset": "two",
                    "base": "llava",
                    "objective": {**mm_dpo, "delta": "moved"},
                    "lora": {"r": 4, "last_layers": 1},
                },
            },
        },
    )
    report = lab.run()
    assert report.ok, report.failures
    return lab


def folder(done: Lab) -> Path:
    return Path(done.metadata("checkpoints", "mm")["folder"].value)


def test_each_pair_has_the_beta_of_its_scores_gap(done: Lab) -> None:
    gaps = dict(done.read("scores", "likely").select("pair_id", "score").iter_rows())
    counted = pl.read_parquet(folder(done) / "pairs.parquet")
    assert counted.height > 0
    for row in counted.iter_rows(named=True):
        gap = gaps[row["pair_id"]]
        assert row["delta"] == pytest.approx(gap, abs=1e-5)
        assert row["beta"] == pytest.approx(0.1 * (1 + 0.5 * (1 - math.exp(-0.5 * max(gap, 0)))), abs=1e-6)
    assert counted["beta"].max() > counted["beta"].min()


def test_the_first_loss_is_that_of_the_reference_and_its_own_likelihood(done: Lab) -> None:
    steps = [json.loads(line) for line in (folder(done) / "metrics.jsonl").read_text().splitlines()]
    logps = done.read("reference_logps", "llava").select("completion_id", "logp", "n_tokens")
    chosen = done.read("pairs", "pairs").select("pair_id", completion_id="chosen_id").join(logps, on="completion_id")
    losses = -chosen["logp"] / chosen["n_tokens"]
    # The step's pairs are drawn; a loss lies between those of the likeliest and the least likely answer.
    assert math.log(2) + 0.25 * losses.min() < steps[0]["loss"] < math.log(2) + 0.25 * losses.max()
    # Two steps are an epoch: the same pairs again.
    losses_of_epochs = [sum(each["loss"] for each in steps[i : i + 2]) for i in (0, 2)]
    assert len(steps) == 4
    assert losses_of_epochs[1] < losses_of_epochs[0]


def test_a_withdrawn_pair_taints_a_policy_through_the_rewards_of_another(done: Lab) -> None:
    pairs = done.read("pairs", "pairs").filter(pl.col("split") == "train")
    two = done.read("subsets", "two").filter("selected")["pair_id"]
    outside = pairs.filter(~pl.col("pair_id").is_in(two.implode()))["pair_id"][0]
    found = {each.name: each for each in impact_of(done.instance, done.home, "seen", [f"pair:{outside}"]).all}
    used = {name: each.before for name, each in found.items()}
    assert found["two"].state == "unaffected"
    assert found["mm"].state == found["after"].state == "tainted"
    mm, after = used["mm"], used["after"]
    assert mm is not None
    assert after is not None
    assert (mm.pairs, mm.tainted, mm.through) == (pairs.height, 1, ())
    assert (after.pairs, after.tainted, after.through) == (2, 0, (f"checkpoints/mm@{folder(done).name}",))


def test_the_policys_reward_is_read_with_the_images(done: Lab) -> None:
    moved = done.read("scores", "moved")
    trained = moved.filter(pl.col("category") == "trained_on")
    assert moved["score"].null_count() == 0
    assert trained.height == pl.read_parquet(folder(done) / "pairs.parquet").height
    assert trained["score"].mean() > 0


def test_difficulty_leaves_out_the_image_with_the_prompt(done: Lab) -> None:
    details: list[dict[str, Any]] = done.read("scores", "hard")["details"].to_list()
    assert all(math.isfinite(each["value"]) for row in details for each in row)
