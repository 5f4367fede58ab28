"""Votes between images: an answer beats the same words about another image where it is right and they are wrong."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from pydantic import ValidationError

from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.merge import PairsSettings, merge
from pref_assets.pairs.readers.base import Records
from pref_assets.pairs.readers.image_contrast import ANNOTATOR, DIMENSION, ImageContrastSource
from pref_assets.pairs.schema import RAW

PEOPLE = "abcde"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for i in range(6):
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(root / f"{i}.png")
    return root


def row(image: int, true: int, sentence: str = "There is a dot.") -> dict[str, Any]:
    """A sentence about an image that ``true`` of five people call true."""
    said = {person: "true" if place < true else "false" for place, person in enumerate(PEOPLE)}
    return {"sentence": sentence, "image": f"{image}.png", "said": said}


def source(folder: Path, **settings: Any) -> ImageContrastSource:
    of = {
        "type": "columns",
        "prompt": "sentence",
        "images": "image",
        "image_folder": str(folder),
        "answers": [{"text": "'true'"}, {"text": "'false'"}],
        "votes": [
            {
                "each": {"ballot": "said.items()"},
                "annotator": "ballot[0]",
                "choice": "ballot[1]",
                "choices": {"true": "a", "false": "b", "unsure": "tie"},
            }
        ],
    }
    return ImageContrastSource.model_validate({"type": "image_contrast", "location": "x", "of": of, **settings})


def read(folder: Path, rows: list[dict[str, Any]], chunk: int = 100, **settings: Any) -> Records:
    raw = RAW.frame(
        {"source": "s", "uri": "f", "row": i, "batch": "b", "payload": json.dumps(each)} for i, each in enumerate(rows)
    )
    found = list(source(folder, **settings).read_each(raw.iter_slices(chunk), MediaStore(folder / "media")))
    names = ("prompts", "completions", "votes", "quarantine")
    return Records(*(pl.concat([getattr(each, name) for each in found]) for name in names))


def between(records: Records) -> set[tuple[str, str, int, int]]:
    """Sentence, answer, the row of the image where it is right, and of the one where it is wrong."""
    asked = records.prompts.select("prompt_id", sentence=pl.col("messages").list.first().struct.field("content"))
    text = pl.col("messages").list.first().struct.field("content").alias("text")
    said = records.completions.join(asked, on="prompt_id").select("completion_id", "sentence", text, "row")
    votes = records.votes.filter(pl.col("dimension") == DIMENSION)
    assert votes["prompt_id"].null_count() == votes.height
    assert set(votes["annotator"]) <= {ANNOTATOR}
    assert (votes["completion_a"] < votes["completion_b"]).all()
    a_wins = pl.col("choice") == "a"
    sides = votes.select(
        better=pl.when(a_wins).then("completion_a").otherwise("completion_b"),
        worse=pl.when(a_wins).then("completion_b").otherwise("completion_a"),
    )
    named = sides.join(said, left_on="better", right_on="completion_id").join(
        said, left_on="worse", right_on="completion_id", suffix="_worse"
    )
    assert named["text"].equals(named["text_worse"])
    assert named["sentence"].equals(named["sentence_worse"])
    return set(named.select("sentence", "text", "row", "row_worse").iter_rows())


def test_each_answer_is_compared_where_it_is_right_and_where_it_is_wrong(folder: Path):
    other = "There is a box."
    records = read(folder, [row(0, 5), row(1, 1), row(2, 0), row(3, 4, other), row(4, 5, other)])
    dot = "There is a dot."
    # The other sentence is true of both its images: nothing to compare.
    assert between(records) == {(dot, "true", 0, 1), (dot, "true", 0, 2), (dot, "false", 1, 0), (dot, "false", 2, 0)}
    # Five people's votes within each of five images stay.
    assert records.votes.filter(pl.col("dimension") != DIMENSION).height == 25
    # A vote between images is read from the row of the image where the answer is right.
    assert set(records.votes.filter(pl.col("dimension") == DIMENSION)["row"]) == {0, 1, 2}


def test_neither_ties_nor_the_same_image_are_compared(folder: Path):
    tied = row(1, 2) | {"said": {"a": "true", "b": "false"}}
    assert between(read(folder, [row(0, 5), tied])) == set()
    # One image, once true and once false: its own votes say what there is to say.
    assert between(read(folder, [row(0, 5), row(0, 0)])) == set()


def test_the_votes_do_not_depend_on_the_order_or_the_pieces_of_a_batch(folder: Path):
    rows = [row(i, i) for i in range(6)]
    whole, pieces = read(folder, rows), read(folder, rows, chunk=2)
    assert between(whole) == between(pieces)
    assert whole.votes.sort(pl.all()).equals(pieces.votes.sort(pl.all()))
    # Three images of which it is true, three of which it is not, two answers.
    assert len(between(whole)) == 18 - 2
    assert len(between(read(folder, rows, most=18))) == 18
    few = between(read(folder, rows, most=3))
    assert len(few) == 3
    assert few < between(whole)


def test_pairs_between_images_have_two_prompts_and_are_certain(folder: Path):
    records = read(folder, [row(0, 5), row(1, 0)])
    settings = PairsSettings.model_validate({"splits": {"test": 0.0, "validation": 0.0}})
    merged = merge(records.prompts, records.completions, records.votes, settings)
    across = merged.pairs.filter(pl.col("prompt_id").is_null())
    assert (merged.pairs.height, across.height) == (4, 2)
    assert across["p_chosen"].to_list() == [1.0, 1.0]
    prompts = dict(merged.completions.select("completion_id", "prompt_id").iter_rows())
    assert all(prompts[c] != prompts[r] for c, r in across.select("chosen_id", "rejected_id").iter_rows())


def test_settings(folder: Path):
    with pytest.raises(ValidationError, match="most"):
        source(folder, most=0)
    with pytest.raises(ValidationError, match="said twice"):
        ImageContrastSource.model_validate(
            {"location": "x", "max_bad_share": 0.5, "of": {"type": "trl", "location": "y"}}
        )
    assert source(folder).shows_images()
