"""A subset as a file for other trainers."""

import json

import polars as pl
import pytest

from pref_assets.lineage.export import export_subset
from pref_assets.lineage.model import UnknownQueryError


def test_only_selected_pairs_are_written(small, tmp_path):
    assert export_subset(small.home, "p", "few", tmp_path / "few.jsonl") == 1
    [row] = [json.loads(line) for line in (tmp_path / "few.jsonl").read_text().splitlines()]
    assert row == {
        "prompt": [{"role": "user", "content": "Name a tree."}],
        "chosen": [{"role": "assistant", "content": "An oak tree."}],
        "rejected": [{"role": "assistant", "content": "No idea."}],
        "chosen_model": "tiny",
        "rejected_model": "tiny",
    }
    assert export_subset(small.home, "p", "all", tmp_path / "all.parquet", margin=True) == 2
    assert pl.read_parquet(tmp_path / "all.parquet")["margin"].to_list() == [1.0, 1.0]


def test_relabelled_pairs_are_written_as_they_train(own, tmp_path):
    own.select("turned", own.ids, p_chosen=0.0, margin=2.5)
    export_subset(own.home, "p", "all", tmp_path / "all.jsonl")
    export_subset(own.home, "p", "turned", tmp_path / "turned.jsonl", margin=True)
    before, after = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("all", "turned")
    )
    assert [row["chosen"] for row in after] == [row["rejected"] for row in before]
    assert [row["rejected"] for row in after] == [row["chosen"] for row in before]
    assert [row["margin"] for row in after] == [2.5, 2.5]


def test_votes_for_the_other_side_are_no_margin_of_a_swapped_pair(own, tmp_path):
    own.select("turned", own.ids, p_chosen=0.0)
    with pytest.raises(ValueError, match="has no strength to write as margin"):
        export_subset(own.home, "p", "turned", tmp_path / "turned.jsonl", margin=True)


def test_an_unknown_subset_names_those_there_are(small, tmp_path):
    with pytest.raises(UnknownQueryError, match=r"no subset 'most' \(there are: all, few\)"):
        export_subset(small.home, "p", "most", tmp_path / "most.jsonl")
