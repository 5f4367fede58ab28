"""Plain squares of many colours, one a row, put together in every way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pref_assets.models.vision import open_image
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.readers.base import Records
from pref_assets.pairs.readers.collage import grid_box, grid_shape
from pref_assets.pairs.readers.multi_image import MultiImageSource, composition
from pref_assets.pairs.readers.trl import TrlSource
from pref_assets.pairs.schema import RAW

COLOURS = [(20 * i, 255 - 20 * i, 7 * i) for i in range(10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("squares")
    for i, colour in enumerate(COLOURS):
        Image.new("RGB", (24, 24), colour).save(root / f"{i}.png")
    return root


def row(i: int, **more: Any) -> dict[str, Any]:
    said = {"id": str(i), "image": f"{i}.png", "prompt": f"What colour is it ({i})?"}
    return {**said, "chosen": "This one.", "rejected": "That one.", **more}


def read(folder: Path, rows: list[dict[str, Any]], chunk: int = 100, **settings: Any) -> tuple[Records, MediaStore]:
    of = {"type": "mm_rlhf", "location": "x", "image_folder": str(folder)}
    source = MultiImageSource.model_validate({"type": "multi_image", "of": of, **settings})
    media = MediaStore(folder / "media")
    raw = RAW.frame(
        {"source": "s", "uri": "f", "row": i, "batch": "b", "payload": json.dumps(each)} for i, each in enumerate(rows)
    )
    found = list(source.read_each(raw.iter_slices(chunk), media))
    names = ("prompts", "completions", "votes", "quarantine")
    return Records(*(pl.concat([getattr(each, name) for each in found]) for name in names)), media


def said(records: Records) -> dict[str, dict[str, Any]]:
    """What was put together, by the row's id."""
    rows = [json.loads(each) for each in records.prompts["metadata"]]
    return {each["id"]: each["multi_image"] for each in rows}


def colour(uri: str, media: MediaStore) -> tuple[int, ...]:
    return tuple(np.asarray(open_image(uri, media))[0, 0].tolist())


ROWS = [row(i) for i in range(10)]


def test_a_sequence_names_the_image_in_question(folder: Path) -> None:
    found, media = read(folder, ROWS)
    assert found.quarantine.is_empty()
    counts = set()
    for prompt in found.prompts.iter_rows(named=True):
        mine = json.loads(prompt["metadata"])
        about, number = mine["multi_image"], int(mine["id"])
        assert prompt["images"] == about["parts"]
        assert colour(prompt["images"][about["target"] - 1], media) == COLOURS[number]
        assert len(set(prompt["images"])) == about["count"] == len(prompt["images"])
        assert about["box"] is None
        assert prompt["messages"][0]["content"] == f"In image {about['target']}, What colour is it ({number})?"
        counts.add(about["count"])
    assert counts <= {2, 3, 4, 5}
    assert len(counts) > 1
    # Answers and votes are those of the rows.
    assert found.completions["messages"].explode().struct.field("content").to_list() == ["This one.", "That one."] * 10
    assert found.votes.height == 10


def test_what_is_drawn_hangs_on_content_and_seed_alone(folder: Path) -> None:
    whole = said(read(folder, ROWS)[0])
    assert said(read(folder, ROWS[::-1], chunk=3)[0]) == whole
    assert said(read(folder, ROWS, seed=1)[0]) != whole
    # A row that cannot be read changes nothing of the others.
    assert said(read(folder, [*ROWS, row(11)])[0]) == whole


@pytest.mark.parametrize("n", range(2, 10))
def test_a_grid_has_the_target_in_its_box(folder: Path, n: int) -> None:
    found, media = read(folder, ROWS, layout="grid", least=n, most=n, tile=8)
    side = 8 * grid_shape(n)[1]
    for number, about in said(found).items():
        uri = found.prompts.filter(pl.col("metadata").str.contains(f'"id":"{number}"|"id": "{number}"'))["images"][0][0]
        picture = np.asarray(open_image(uri, media))
        assert picture.shape == (side, side, 3)
        left, top, right, bottom = about["box"]
        inside = picture[round(top * side) : round(bottom * side), round(left * side) : round(right * side)]
        assert inside.shape == (8, 8, 3)
        assert (inside == COLOURS[int(number)]).all()
        shown = {tuple(each) for each in picture.reshape(-1, 3).tolist()}
        assert len(shown - {(0, 0, 0)}) == n


def test_a_picture_in_a_picture(folder: Path) -> None:
    found, media = read(folder, ROWS, layout="picture_in_picture", tile=24)
    for prompt in found.prompts.iter_rows(named=True):
        number = int(json.loads(prompt["metadata"])["id"])
        picture = np.asarray(open_image(prompt["images"][0], media))
        assert (picture[4:20, 4:20] == COLOURS[number]).all()
        assert (picture[3] != COLOURS[number]).any()
        held = composition(prompt["metadata"])
        assert held is not None
        assert held.box == pytest.approx((1 / 6, 1 / 6, 5 / 6, 5 / 6))
        assert (held.target, held.count) == (0, 2)
        assert prompt["messages"][0]["content"].startswith("In the small picture in the middle, What colour")


def test_boxes_of_a_grid() -> None:
    assert [grid_shape(n) for n in (2, 3, 4, 5, 7, 9)] == [(1, 2), (2, 2), (2, 2), (2, 3), (3, 3), (3, 3)]
    assert grid_box(3, 5) == (0, 1 / 3, 1 / 3, 2 / 3)
    assert grid_box(8, 9) == (2 / 3, 2 / 3, 1, 1)


def test_marks_and_parts_of_one_image_are_dropped(folder: Path) -> None:
    marked = {**row(0), "prompt": "<image>\nWhich?"}
    found, _ = read(folder, [marked, *ROWS[1:3]], least=2, most=2, question="Of {count}, number {place}: {question}")
    content = found.prompts["messages"][0][0]["content"]
    assert content in ("Of 2, number 1: Which?", "Of 2, number 2: Which?")


def test_rows_that_cannot_be_put_together_are_quarantined(folder: Path) -> None:
    several = row(3, image=["3.png", "4.png"])
    found, _ = read(folder, [row(0), row(1), several, {**row(5), "image": None}, row(12)], least=3, most=3)
    assert found.prompts.is_empty()
    codes = dict(found.quarantine.select("row", "code").iter_rows())
    assert codes == {0: "too_few_images", 1: "too_few_images", 2: "not_one_image", 3: codes[3], 4: "missing_image"}
    assert found.quarantine["reason"][0] == "f, row 0: 3 images go together, and the batch has 1 others"


def test_the_same_image_under_two_names_is_one(folder: Path) -> None:
    (folder / "twin.png").write_bytes((folder / "0.png").read_bytes())
    found, _ = read(folder, [row(0), row(7, image="twin.png")], least=2, most=2)
    assert found.quarantine["code"].to_list() == ["too_few_images"] * 2


def test_settings() -> None:
    one = MultiImageSource.model_validate({"location": "x", "max_bad_share": 0.5, "of": {"type": "trl"}})
    other = MultiImageSource.model_validate({"of": {"type": "trl", "location": "x", "max_bad_share": 0.5}})
    assert one == other
    assert one.of.location == "x"
    assert MultiImageSource.model_validate(one.model_dump(mode="json")) == one
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"location": "y"}, "`location` is said twice"),
        ({"most": 6}, "a sequence holds from 2 to 5 images"),
        ({"layout": "picture_in_picture", "least": 3}, "holds from 2 to 2"),
        ({"least": 4, "most": 3}, "holds from 2 to 5"),
        ({"question": "Look!"}, "it holds {question}"),
        ({"question": "{question} {where}"}, "it holds {question}"),
        ({"of": {"type": "multi_image", "location": "x", "of": {"type": "trl"}}}, "put together once"),
    ]
    for settings, message in wrong:
        with pytest.raises(ValueError, match=message):
            MultiImageSource.model_validate({"of": {"type": "trl", "location": "x"}, **settings})


def test_bytes_of_a_collage_are_equal_for_equal_pictures(folder: Path) -> None:
    first, second = (read(folder, ROWS, layout="grid", tile=8)[0].prompts["images"].to_list() for _ in range(2))
    assert first == second


def test_prompts_written_down_again_keep_what_was_put_together(folder: Path) -> None:
    """A row with the composed prompt, its uris, and another answer: what a policy's own answers are trained with."""
    found, media = read(folder, ROWS[:3], least=2, most=2)
    prompt = found.prompts.row(0, named=True)
    about = json.loads(prompt["metadata"])["multi_image"]
    row = {"prompt": prompt["messages"], "images": prompt["images"], "chosen": "Red.", "rejected": "Blue."}
    sides = {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
    payload = json.dumps({**row, **sides, "multi_image": about})
    raw = RAW.frame([{"source": "s", "uri": "f", "row": 0, "batch": "b", "payload": payload}])
    again = TrlSource(location="x").read(raw, media)
    assert again.quarantine.is_empty()
    assert again.prompts["prompt_id"][0] == prompt["prompt_id"]
    assert composition(again.prompts["metadata"][0]) == composition(prompt["metadata"])
