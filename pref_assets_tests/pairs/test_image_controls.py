"""Other images in the place of a prompt's own."""

import polars as pl
import pytest

from pref_assets.pairs.image_controls import controlled_images

PROMPTS = pl.DataFrame(
    [
        ("a", ["media://1"], "train"),
        ("b", ["media://1"], "train"),
        ("c", ["media://2", "media://3"], "train"),
        ("d", ["media://4"], "train"),
        ("e", [], "train"),
        ("f", ["media://1"], "test"),
        ("g", ["media://9"], "test"),
        ("h", None, "test"),
    ],
    schema={"prompt_id": pl.String, "images": pl.List(pl.String), "split": pl.String},
    orient="row",
)


def test_own_and_none():
    assert controlled_images(PROMPTS, "own")["c"] == ["media://2", "media://3"]
    assert controlled_images(PROMPTS, "own")["h"] == []
    assert set(map(tuple, controlled_images(PROMPTS, "none").values())) == {()}


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_shows_everybody_something_else_of_the_split(seed):
    own, other = controlled_images(PROMPTS, "own"), controlled_images(PROMPTS, "shuffled", seed)
    assert all((own[each] != other[each]) or not own[each] for each in own)
    assert (other["e"], other["h"]) == ([], [])
    assert (other["f"], other["g"]) == (["media://9"], ["media://1"])
    assert sorted(map(tuple, (other[each] for each in "acd"))) == sorted(tuple(own[each]) for each in "acd")
    assert other["a"] == other["b"]
    assert controlled_images(PROMPTS.reverse(), "shuffled", seed) == other


def test_seeds_differ_and_a_split_of_one_image_is_refused():
    many = pl.DataFrame({"prompt_id": [f"p{i}" for i in range(9)], "images": [[f"i{i}"] for i in range(9)]})
    many = many.with_columns(split=pl.lit("train"))
    assert len({str(controlled_images(many, "shuffled", seed)) for seed in range(4)}) == 4
    with pytest.raises(ValueError, match="split 'train' has one image"):
        controlled_images(PROMPTS.filter(pl.col("prompt_id").is_in(["a", "b", "e"])), "shuffled")
