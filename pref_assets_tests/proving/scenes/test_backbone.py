"""The plan of the tiny model: what ships is what the code makes, and every word of the world is a token."""

import json
from pathlib import Path
from typing import Any

import pytest

from pref_assets.models.loading import load_reader
from pref_assets.proving.scenes.backbone import write_plan
from pref_assets.proving.scenes.scene import PLACES
from pref_assets.proving.scenes.study import MODEL
from pref_assets.proving.scenes.world import World

SHIPPED = Path(__file__).parents[3] / "pref_assets" / "data" / "tiny_llava"
VERSIONS = "transformers_version"


def content(folder: Path) -> dict[str, Any]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


def test_what_ships_is_what_the_code_makes(tmp_path: Path):
    made, shipped = content(write_plan(tmp_path)), content(SHIPPED)
    assert set(made) == set(shipped)
    for name, text in made.items():
        if name.endswith(".json"):
            ours, theirs = (json.loads(each) for each in (text, shipped[name]))
            assert {**ours, VERSIONS: None} == {**theirs, VERSIONS: None}, name
        else:
            assert text == shipped[name], name


def test_no_weights_ship():
    assert not {each.suffix for each in SHIPPED.iterdir()} & {".safetensors", ".bin", ".pt"}


def test_every_word_of_the_world_is_a_token():
    reader = load_reader(MODEL)
    for item in World(prompts=40).items():
        row = item.row()
        for text in (row["question"], *row["models_output"], *row["score_reasons"], *row["truth_reasons"]):
            ids = reader.tokenizer(text, add_special_tokens=False)["input_ids"]
            assert reader.tokenizer.decode(ids) == text
            # Marks, and white space that is no single space before a word, are tokens of their own.
            marks = sum(text.count(mark) for mark in ".,:\n")
            assert len(ids) == len(text.split()) + marks


def test_a_picture_is_a_token_a_place():
    assert reader_tokens() == len(PLACES)


def reader_tokens() -> int:
    from PIL import Image

    processor = load_reader(MODEL).processor
    [ids] = processor(images=[Image.new("RGB", (16, 16))], text=["<image>"])["input_ids"]
    return len(ids)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_learns_to_judge_by_what_it_sees(tmp_path: Path):
    """Chance before, at least .9 after, chance again with other prompts' pictures."""
    import torch

    from pref_assets.proving.scenes.study import Study

    torch.set_num_threads(1)
    study = Study(World(), tmp_path)
    study.caption()
    test = study.pairs("test")
    study.critic("fresh", None, pairs=1, learning_rate=1e-12)
    before = study.accuracy(study.rewards("fresh", test, "none"), test)
    study.critic("critic", "expanded", epochs=2)
    after = study.accuracy(study.rewards("critic", test), test)
    shuffled = study.accuracy(study.rewards("critic", test, images="shuffled"), test)
    assert after.pairs > 900
    assert 0.4 < before.acc < 0.6
    assert after.acc >= 0.9
    assert after.acc_plus >= 0.75
    assert 0.4 < shuffled.acc < 0.6
