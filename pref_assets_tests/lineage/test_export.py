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


def test_an_unknown_subset_names_those_there_are(small, tmp_path):
    with pytest.raises(UnknownQueryError, match=r"no subset 'most' \(there are: all, few\)"):
        export_subset(small.home, "p", "most", tmp_path / "most.jsonl")
