import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS, REFERENCE_LOGPS
from pref_assets.proving.worlds import PLANTED, PlantedWorld

SMALL = {"train": 400, "validation": 40, "test": 100}


@pytest.fixture(scope="module")
def noisy():
    return PlantedWorld(flips=0.3, **SMALL).plant(0)


def test_tables_have_their_schemas_and_refer_to_one_another(noisy) -> None:
    pool = noisy.pool
    assert (pool.pairs.schema, pool.completions.schema) == (PAIRS.schema, COMPLETIONS.schema)
    assert (pool.prompts.schema, pool.reference_logps[PLANTED].schema) == (PROMPTS.schema, REFERENCE_LOGPS.schema)
    sides = pl.concat([pool.pairs["chosen_id"], pool.pairs["rejected_id"]])
    assert sides.is_unique().all()
    assert set(sides) == set(pool.completions["completion_id"]) == set(pool.embeddings[PLANTED].ids)
    assert set(pool.pairs["prompt_id"]) == set(pool.prompts["prompt_id"])
    assert noisy.truth["pair_id"].to_list() == pool.pairs["pair_id"].to_list()


def test_planted_rates_come_out(noisy) -> None:
    train = noisy.truth.join(noisy.pool.pairs.filter(split="train"), on="pair_id", how="semi")
    deviation = 3 * np.sqrt(0.3 * 0.7 / 400)
    assert train["flip"].mean() == pytest.approx(0.3, abs=deviation)
    assert train["duplicate"].mean() == pytest.approx(0.1, abs=0.05)
    by_group = train.filter(~pl.col("tie")).group_by("group").agg(pl.col("flip").mean()).sort("group")["flip"]
    assert by_group.is_sorted(), "group 0 is the careful one, group 2 the careless one"


def test_trusted_and_test_labels_are_true(noisy) -> None:
    held_out = noisy.truth.join(noisy.pool.pairs.filter(pl.col("split") != "train"), on="pair_id", how="semi")
    assert not held_out.select(pl.any_horizontal("flip", "duplicate", "tie")).to_series().any()


@pytest.mark.parametrize("seen_as", ["vectors", "text"])
def test_a_flip_swaps_the_sides_and_nothing_else(seen_as: str) -> None:
    clean, noisy = (PlantedWorld(flips=flips, seen_as=seen_as, ties=0.0, **SMALL).plant(1) for flips in (0.0, 0.4))
    flipped = noisy.truth["flip"].to_numpy()
    assert (flipped == (clean.pool.pairs["chosen_id"] == noisy.pool.pairs["rejected_id"]).to_numpy()).all()
    assert_frame_equal(clean.pool.completions, noisy.pool.completions)
    assert (clean.pool.embeddings[PLANTED].matrix == noisy.pool.embeddings[PLANTED].matrix).all()


def test_copies_are_near_and_have_the_prompt_of_their_original(noisy) -> None:
    vectors, pairs = noisy.pool.embeddings[PLANTED], noisy.pool.pairs
    copies = noisy.truth.filter("duplicate")["pair_id"]
    prompts = noisy.pool.prompts.select("prompt_id", text=pl.col("messages").list.first().struct.field("content"))
    texts = pairs.join(prompts, on="prompt_id")
    assert (
        texts.filter(pl.col("pair_id").is_in(copies.implode()))["text"]
        .is_in(texts.filter(~pl.col("pair_id").is_in(copies.implode()))["text"].implode())
        .all()
    )
    everything = vectors.matrix / np.linalg.norm(vectors.matrix, axis=1, keepdims=True)
    of_copies = [vectors.ids.index(f"{pair[1:]}c") for pair in copies]
    cosines = everything[of_copies] @ everything[: len(pairs)].T
    cosines[np.arange(len(of_copies)), of_copies] = -1
    assert cosines.max(axis=1).min() > 0.98


def test_the_first_vote_is_the_label(noisy) -> None:
    votes = noisy.pool.pairs.select(pl.col("votes").list.first().struct.field("choice"))
    assert set(votes["choice"]) == {"chosen"}
    assert noisy.pool.pairs["votes"].list.len().unique().to_list() == [3]


def test_equal_seeds_make_equal_worlds(noisy) -> None:
    again = PlantedWorld(flips=0.3, **SMALL).plant(0)
    assert_frame_equal(again.pool.pairs, noisy.pool.pairs)
    other = PlantedWorld(flips=0.3, **SMALL).plant(1)
    assert (other.pool.embeddings[PLANTED].matrix != noisy.pool.embeddings[PLANTED].matrix).any()


@pytest.mark.parametrize("wrong", [{"carelessness": (1, 1, 2)}, {"flips": 0.5, "carelessness": (0, 0.5, 2.5)}])
def test_rates_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError, match="carelessness"):
        PlantedWorld(**wrong)
