"""Which pairs are measured on, with which truth, in which slices."""

import gzip
import json

import polars as pl
import pytest

from pref_assets.evaluation.heldout import NothingHeldOutError, held_out, read_truth, sample, slices


def test_only_test_pairs_with_a_winner_count(inputs):
    test = held_out(inputs.pairs, inputs.completions)
    assert test["pair_id"].to_list() == ["p1", "p2", "p3", "p4", "p5"]
    assert test["length_difference"].to_list() == [-5, -4, 4, -8, 0]
    assert test["group"].to_list() == ["q1", "q2", "q2", "q2", "q3"]
    assert test["label_right"].null_count() == 5
    assert not test["truth_known"].any()


def test_row_order_does_not_matter(inputs, truth):
    test = held_out(inputs.pairs, inputs.completions, truth)
    shuffled = held_out(inputs.pairs.reverse(), inputs.completions.reverse(), truth.reverse())
    assert test.equals(shuffled)


def test_truth_joins_both_sides(inputs, truth):
    test = held_out(inputs.pairs, inputs.completions, truth)
    assert test["label_right"].to_list() == [None, None, False, True, None]
    assert test["truth_known"].to_list() == [True, True, True, True, False]
    assert test["faults"].to_list() == [["contradiction", "near_duplicate"], [], ["flip"], ["flip"], []]
    assert test["families"].to_list()[:2] == [["max_words"], ["include", "max_words"]]


def test_slices_name_families_and_faults(inputs, truth):
    parts = slices(held_out(inputs.pairs, inputs.completions, truth))
    members = {name: sorted(part["pair_id"]) for (name,), part in parts.group_by("subset")}
    assert members == {
        "all": ["p1", "p2", "p3", "p4", "p5"],
        "family:max_words": ["p1", "p2", "p3", "p4"],
        "family:include": ["p2", "p3", "p4"],
        "fault:contradiction": ["p1"],
        "fault:near_duplicate": ["p1"],
        "fault:flip": ["p3", "p4"],
        "fault:none": ["p2"],
    }


def test_pairs_across_prompts_group_by_the_chosen_side(inputs):
    pairs = inputs.pairs.with_columns(
        prompt_id=pl.when(pair_id="p1").then(None).otherwise("prompt_id"),
        rejected_id=pl.when(pair_id="p1").then(pl.lit("c2")).otherwise("rejected_id"),
    )
    test = held_out(pairs, inputs.completions)
    assert test.filter(pair_id="p1")["group"].to_list() == ["q1"]


def test_nothing_held_out_says_which_splits_there_are(inputs):
    with pytest.raises(NothingHeldOutError, match=r"'test'.*\{'train': 1\}"):
        held_out(inputs.pairs.filter(split="train"), inputs.completions)


def test_a_missing_completion_is_named(inputs):
    with pytest.raises(ValueError, match="pair p2 names a completion"):
        held_out(inputs.pairs, inputs.completions.filter(pl.col("completion_id") != "b1"))


def test_truth_files_are_read_and_bad_lines_named(tmp_path):
    row = {"prompt_id": "q", "completion_id": None, "overall_true": None, "faults": ["flip"], "family": [], "row": 3}
    good, bad = tmp_path / "truth.jsonl.gz", tmp_path / "bad.jsonl"
    with gzip.open(good, "wt") as file:
        file.write(json.dumps(row) + "\n")
    assert read_truth([good])["faults"].to_list() == [["flip"]]
    bad.write_text(json.dumps(row) + "\n" + json.dumps({"prompt_id": "q"}) + "\n")
    with pytest.raises(ValueError, match=r"bad.jsonl:2: .*completion_id"):
        read_truth([bad])


def test_a_sample_is_stable():
    ids = pl.DataFrame({"id": [f"i{n}" for n in range(50)]})
    drawn = sample(ids, "id", 10, seed=0)
    assert drawn.height == 10
    assert drawn.equals(sample(ids.reverse(), "id", 10, seed=0))
    assert not drawn.equals(sample(ids, "id", 10, seed=1))
    assert set(sample(ids, "id", 5, seed=0)["id"]) <= set(drawn["id"])
    assert sample(ids, "id", 99, seed=0).height == 50
