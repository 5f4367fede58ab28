"""Pairs of two images, from a source to a reward model and a policy that learn from them."""

from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from pref_assets.models.tiny_vision import tiny_llava
from pref_assets_tests.pipeline.conftest import Lab, write_rows

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("contrast")
    (root / "images").mkdir()
    rows = []
    for sentence in range(4):
        for name, colour in COLOURS.items():
            shade = tuple(min(255, value + 8 * sentence) for value in colour)
            Image.new("RGB", (16, 16), shade).save(root / "images" / f"{sentence}_{name}.png")
            true, false = ("true", "false") if name == "red" else ("false", "true")
            asked = {"image": f"{sentence}_{name}.png", "prompt": f"Sentence {sentence}: it is red."}
            rows.append({"id": f"{sentence}_{name}", **asked, "chosen": true, "rejected": false})
    write_rows(root / "data" / "rows.jsonl", rows)
    model = str(tiny_llava(root / "llava"))
    lab = Lab(
        root,
        {
            "name": "contrast",
            "sources": {
                "pictures": {
                    "type": "image_contrast",
                    "location": str(root / "data"),
                    "image_folder": str(root / "images"),
                    "of": {"type": "mm_rlhf"},
                }
            },
            "pairs": {
                "splits": {"test": 0.0, "validation": 0.0},
                "audit": {"policy": {"prompts_differ": "keep"}},
            },
            "subsets": {"all": {"type": "all"}},
            "reference_logps": {"llava": {"model": model, "max_length": 64}},
            "checkpoints": {
                "reward": {
                    "type": "critique_reward_model",
                    "subset": "all",
                    "model": model,
                    "critiques": None,
                    "instruction": "{question} {answer}",
                    "lora": {"r": 4, "last_layers": 1},
                    "max_length": 64,
                },
                "policy": {
                    "type": "policy",
                    "subset": "all",
                    "base": "llava",
                    "objective": {"type": "dcpo"},
                    "lora": {"r": 4, "last_layers": 1},
                },
            },
            "scores": {
                "seen": {"type": "critique_reward", "checkpoint": "reward", "mode": "none"},
                "blind": {"type": "critique_reward", "checkpoint": "reward", "mode": "none", "images": "none"},
            },
        },
    )
    report = lab.run()
    assert report.ok, report.failures
    return lab


def test_the_pairs_are_those_within_an_image_and_those_between_two(done: Lab) -> None:
    pairs = done.read("pairs", "pairs")
    between = pairs.filter(pl.col("prompt_id").is_null())
    # An image each: eight. Of each sentence "true" and "false" between its two images: eight.
    assert (pairs.height, between.height) == (16, 8)
    said = done.read("pairs", "completions").select("completion_id", text=pl.col("messages").list.last())
    text = dict(said.select("completion_id", pl.col("text").struct.field("content")).iter_rows())
    assert all(text[c] == text[r] for c, r in between.select("chosen_id", "rejected_id").iter_rows())


def test_both_models_learn_from_both(done: Lab) -> None:
    pairs = set(done.read("pairs", "pairs")["pair_id"])
    for name in ("reward", "policy"):
        folder = Path(done.metadata("checkpoints", name)["folder"].value)
        assert set(pl.read_parquet(folder / "pairs.parquet")["pair_id"]) == pairs


def test_without_images_nothing_tells_the_two_sides_apart(done: Lab) -> None:
    between = done.read("pairs", "pairs").filter(pl.col("prompt_id").is_null()).select("pair_id")
    seen, blind = (done.read("scores", name).join(between, on="pair_id")["score"] for name in ("seen", "blind"))
    assert blind.abs().max() < 1e-5
    assert seen.abs().min() > 1e-5
