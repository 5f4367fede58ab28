"""A subset as a file for other trainers."""

import json

import polars as pl
import pytest

from pref_assets.lineage.export import export_subset
from pref_assets.lineage.model import UnknownQueryError
from pref_assets.training.checkpoint import PAIR_TABLE, pair_ids


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


def counted(folder, **numbers):
    ids = pair_ids(folder)
    pl.DataFrame({"pair_id": ids, "weight": [1.0] * len(ids), "margin": [None] * len(ids), **numbers}).write_parquet(
        folder / PAIR_TABLE
    )


def test_the_numbers_of_a_checkpoint_are_written_beside_its_pairs(own, tmp_path):
    counted(own.folder, beta=[0.1, 0.15], swapped=[False, True], delta=[-1.0, 5.0])
    assert export_subset(own.home, "p", "all", tmp_path / "all.jsonl", checkpoint="rm@cccc") == 2
    found = {row["pair_id"]: row for row in map(json.loads, (tmp_path / "all.jsonl").read_text().splitlines())}
    ids = sorted(own.ids)
    assert [(found[id_]["beta"], found[id_]["delta"]) for id_ in ids] == [(0.1, -1.0), (0.15, 5.0)]
    assert not {"margin", "swapped"} & found[ids[0]].keys()
    export_subset(own.home, "p", "all", tmp_path / "sides.jsonl", style="trl_unpaired", checkpoint="rm")
    sides = [json.loads(line) for line in (tmp_path / "sides.jsonl").read_text().splitlines()]
    assert sorted(row["pair_id"] for row in sides) == sorted([*ids, *ids])


def test_a_margin_of_the_votes_and_one_that_trained_are_not_written_as_one(own, tmp_path):
    counted(own.folder, beta=[0.1, 0.15])
    table = pl.read_parquet(own.folder / PAIR_TABLE).with_columns(margin=pl.lit(2.0))
    table.write_parquet(own.folder / PAIR_TABLE)
    export_subset(own.home, "p", "all", tmp_path / "all.parquet", checkpoint="rm")
    assert pl.read_parquet(tmp_path / "all.parquet")["margin"].to_list() == [2.0, 2.0]
    with pytest.raises(ValueError, match="its row has a field `margin` already"):
        export_subset(own.home, "p", "all", tmp_path / "all.jsonl", margin=True, checkpoint="rm")


def test_numbers_are_only_written_of_the_data_that_trained(own, tmp_path):
    with pytest.raises(ValueError, match="checkpoint rm@cccc3333 has no table of its pairs"):
        export_subset(own.home, "p", "all", tmp_path / "all.jsonl", checkpoint="rm")
    own.select("few", own.ids[:1])
    with pytest.raises(ValueError, match="was trained on subset all; export that"):
        export_subset(own.home, "p", "few", tmp_path / "few.jsonl", checkpoint="rm")
    own.select("all", own.ids[:1])
    with pytest.raises(ValueError, match="was trained on other decisions than there are now"):
        export_subset(own.home, "p", "all", tmp_path / "all.jsonl", checkpoint="rm")
    with pytest.raises(UnknownQueryError, match="no checkpoint 'nobody'"):
        export_subset(own.home, "p", "all", tmp_path / "all.jsonl", checkpoint="nobody")
    assert not any((tmp_path / name).exists() for name in ("all.jsonl", "few.jsonl"))
