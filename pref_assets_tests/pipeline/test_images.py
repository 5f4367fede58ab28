"""Pairs about images, from files to a policy that looks at them."""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dagster._serdes import serialize_value
from PIL import Image

from pref_assets.models.tiny_vision import tiny_llava
from pref_assets.training.policy import load_policy
from pref_assets_tests.pipeline.conftest import Lab, write_rows
from pref_assets_tests.pipeline.test_graph import MAX_EVENT_BYTES

COLOURS = ("red", "green", "blue", "white", "black", "yellow", "purple", "orange")


def rows(folder: Path) -> list[dict[str, Any]]:
    """The right colour of a plain image against another one; the last row's image is missing."""
    folder.mkdir(parents=True)
    found = []
    for number, colour in enumerate(COLOURS):
        stream = io.BytesIO()
        Image.new("RGB", (12 + number, 16), colour).save(stream, "PNG")
        (folder / f"{number}.png").write_bytes(stream.getvalue())
        other = COLOURS[(number + 3) % len(COLOURS)]
        prompt = f"Which colour is it, number {number}?"
        found.append(
            {"id": str(number), "image": f"{number}.png", "prompt": prompt, "chosen": colour, "rejected": other}
        )
    return [*found, {**found[0], "id": "9", "image": "missing.png"}]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("images")
    write_rows(root / "data" / "dpo_pairs.jsonl", rows(root / "images"))
    source = {"type": "mm_rlhf", "location": str(root / "data"), "image_folder": str(root / "images")}
    policy = {"type": "policy", "subset": "all", "base": "llava", "batch_pairs": 4, "learning_rate": 0.01}
    lab = Lab(
        root,
        {
            "name": "seen",
            "sources": {"colours": {**source, "max_bad_share": 0.2}},
            "pairs": {"splits": {"test": 0.2, "validation": 0.0}},
            "critiques": {"own": {"type": "human", "dimensions": ["overall"]}},
            "embeddings": {
                "tower": {"type": "image", "model": str(root / "llava"), "pooling": "mean"},
                "trained": {"type": "image", "checkpoint": "seeing", "pooling": "mean"},
            },
            "clusters": {"alike": {"type": "kmeans", "embeddings": "tower", "k": 3, "freeze": True}},
            "subsets": {"all": {"type": "all"}},
            "reference_logps": {"llava": {"model": str(tiny_llava(root / "llava")), "max_length": 64}},
            "checkpoints": {
                "adapted": policy,
                "whole": {**policy, "lora": None},
                "seeing": {**policy, "lora": None, "freeze_vision": False},
            },
        },
    )
    report = lab.run()
    assert report.ok, report.failures
    return lab


def trained(lab: Lab, name: str) -> Path:
    return Path(lab.metadata("checkpoints", name)["folder"].value)


def test_policies_learn_from_images(done: Lab) -> None:
    steps = [json.loads(line) for line in (trained(done, "adapted") / "metrics.jsonl").read_text().splitlines()]
    # The untrained policy is the reference, with its images as without.
    assert steps[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    model, reader = load_policy(trained(done, "adapted"))
    assert model.config.model_type == "llava"
    assert reader.processor.image_token == "<image>"


def test_only_the_language_model_is_adapted_and_the_tower_stays_unless_asked(done: Lab) -> None:
    settings = json.loads((trained(done, "adapted") / "adapter_config.json").read_text())
    assert settings["target_modules"]
    assert all("language_model" in each for each in settings["target_modules"])
    base, whole, seeing = (
        _tower(Path(folder)) for folder in (done.root / "llava", trained(done, "whole"), trained(done, "seeing"))
    )
    assert all((base[name] == whole[name]).all() for name in base)
    assert any((base[name] != seeing[name]).any() for name in base)


def test_a_row_whose_image_is_missing_is_quarantined(done: Lab) -> None:
    assert done.read("records", "colours_quarantine")["code"].to_list() == ["missing_image"]
    assert done.read("critiques", "own").filter(pl.col("category") == "silent").height == 16


def test_answers_lie_where_their_images_do(done: Lab) -> None:
    rows = done.read("embeddings", "tower")
    completions = done.read("pairs", "completions")
    assert rows.height == completions.height == 16
    assert rows["vector_id"].n_unique() == 8
    assert {name: done.metadata("embeddings", "tower")[name].value for name in ("embedded", "reused")} == {
        "embedded": 8,
        "reused": 0,
    }
    # The tower that training moved gives other vectors, under a key of its own.
    assert done.read("embeddings", "trained")["key"][0] != rows["key"][0]
    clusters = done.read("clusters", "alike").join(completions, left_on="id", right_on="completion_id")
    assert clusters.group_by("prompt_id").agg(pl.col("cluster").n_unique())["cluster"].to_list() == [1] * 8
    assert clusters["cluster"].n_unique() == 3


def test_images_are_a_table_and_pictures_are_shown(done: Lab) -> None:
    images = done.read("pairs", "images")
    assert images.height == len(COLOURS)
    assert images["format"].unique().to_list() == ["png"]
    # Plain images have one hash; their colours keep them apart.
    assert images["phash"].unique().to_list() == ["0" * 16]
    assert images["near"].null_count() == len(COLOURS)
    for stage, name in (("pairs", "pairs"), ("subsets", "all"), ("reports", "gallery")):
        assert "data:image/webp;base64," in done.metadata(stage, name)["pictures"].value
    text = Path(done.metadata("reports", "gallery")["file"].value).read_text()
    assert text.count("<article") == text.count("<img ") == done.read("pairs", "pairs").height
    assert "Of 8 images 0 nearly repeat an earlier one." in done.metadata("reports", "data_card")["card"].value


def test_events_with_pictures_are_small(done: Lab) -> None:
    keys = done.definitions().resolve_asset_graph().materializable_asset_keys
    records = [record for key in keys for record in done.instance.fetch_materializations(key, 10).records]
    sizes = [len(serialize_value(record.event_log_entry).encode()) for record in records]
    assert len(sizes) >= 20
    assert max(sizes) <= MAX_EVENT_BYTES


def _tower(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: each for name, each in load_file(folder / "model.safetensors").items() if "vision_tower" in name}
