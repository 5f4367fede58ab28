"""The exact rows behind a checkpoint, whatever happened since."""

import shutil

import polars as pl
import pytest

from pref_assets.lineage.model import AmbiguousQueryError, LineageError, UnknownQueryError
from pref_assets.lineage.rows import find_checkpoint, manifests, rows
from pref_assets.pairs.schema import DECISIONS, PAIRS, Table
from pref_assets.training.checkpoint import PAIR_IDS


def test_rows_are_the_pairs_with_their_texts(small):
    found = list(rows(small.home, "rm_few"))
    assert [row["pair_id"] for row in found] == [small.oak]
    [row] = found
    assert row["prompt"] == [{"role": "user", "content": "Name a tree."}]
    assert row["chosen"] == [{"role": "assistant", "content": "An oak tree."}]
    assert row["rejected"] == [{"role": "assistant", "content": "No idea."}]
    assert (row["weight"], row["stage"], row["p_chosen"]) == (1.0, 1, 1.0)
    assert [(origin["uri"], origin["row"]) for origin in row["provenance"]] == [("data/answers.jsonl", 5)]
    assert [row["pair_id"] for row in rows(small.home, "rm_all")] == sorted([small.blue, small.oak])


def test_rows_are_as_they_trained_where_the_selector_relabelled(own):
    turned = own.select("turned", own.ids, p_chosen=0.25, margin=1.5)
    own.train("rm_turned", "ffff8888", turned, own.ids)
    before, after = list(rows(own.home, "rm")), list(rows(own.home, "rm_turned"))
    assert len(before) == len(after) == 2
    for old, new in zip(before, after, strict=True):
        assert (new["pair_id"], new["chosen"], new["rejected"]) == (old["pair_id"], old["rejected"], old["chosen"])
        assert (new["p_chosen"], new["margin"], new["swapped"]) == (0.75, 1.5, True)
        assert (old["p_chosen"], old["margin"], old["swapped"]) == (1.0, None, False)
        assert new["provenance"] == old["provenance"]


def test_a_subset_of_before_there_were_relabels_is_still_read(own):
    columns = {name: column for name, column in DECISIONS.columns.items() if name not in ("p_chosen", "margin")}
    stored = own.tables.read(("p", "subsets", "all"))
    old = Table(DECISIONS.name, DECISIONS.key, columns)
    pin = own.write(("subsets", "old"), stored.select(list(columns)), old)
    own.train("rm_old", "abcd9999", pin, own.ids)
    assert list(rows(own.home, "rm_old")) == list(rows(own.home, "rm"))


def test_later_changes_do_not_change_the_answer(own):
    before = list(rows(own.home, "rm"))
    own.write(("pairs", "pairs"), own.merged.pairs.head(0), PAIRS)
    own.select("all", own.ids[:1])
    assert list(rows(own.home, "rm")) == before
    assert len(before) == 2


def test_checkpoints_are_found_by_name_version_and_pipeline(own):
    own.train("rm", "dddd4444", own.every, own.ids)
    assert len(manifests(own.home)) == 2
    assert find_checkpoint(own.home, "rm@cccc")[1].version == "cccc3333"
    assert find_checkpoint(own.home, "p/rm@dddd4444")[1].version == "dddd4444"
    assert find_checkpoint(own.home, "rm", "p")[1].version in {"cccc3333", "dddd4444"}
    with pytest.raises(UnknownQueryError, match=r"no checkpoint 'nope'.*p/rm@cccc3333"):
        find_checkpoint(own.home, "nope")
    with pytest.raises(UnknownQueryError, match="there are: none"):
        find_checkpoint(own.home, "rm", "q")


def test_a_name_in_two_pipelines_is_ambiguous(own):
    manifest = own.folder / "manifest.json"
    other = own.home.checkpoints / "q2" / "rm" / "cccc3333"
    other.parent.mkdir(parents=True)
    shutil.copytree(own.folder, other)
    (other / "manifest.json").write_text(manifest.read_text().replace('"pipeline": "p"', '"pipeline": "q2"'))
    with pytest.raises(AmbiguousQueryError, match="several checkpoints answer to 'rm'"):
        find_checkpoint(own.home, "rm")


def test_unfinished_checkpoints_are_not_seen(own):
    own.folder.rename(own.folder.with_name(".cccc3333.1.tmp"))
    assert manifests(own.home) == []


def test_a_changed_list_of_ids_is_noticed_before_the_first_row(own):
    path = own.folder / PAIR_IDS
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(LineageError, match=r"checkpoint p/rm@cccc3333: .*not the list"):
        rows(own.home, "rm")


def test_a_subset_that_does_not_select_these_pairs_is_noticed(own):
    few = own.select("few", own.ids[:1])
    own.train("odd", "eeee5555", few, own.ids)
    with pytest.raises(LineageError, match=r"the 2 pairs it trained on are not the 1 that .* p/subsets/few"):
        rows(own.home, "odd")


def test_pairs_that_the_pinned_tables_lack_are_noticed(own):
    gone = own.write(("pairs", "pairs"), own.merged.pairs.filter(pl.col("pair_id") == own.ids[0]), PAIRS)
    own.train("late", "ffff6666", own.every, own.ids, {**own.pins, "pairs": gone})
    with pytest.raises(LineageError, match=f"pair {own.ids[1]} is not in the pinned tables"):
        list(rows(own.home, "late"))


def test_a_manifest_that_pins_too_little_is_noticed(own):
    own.train("bare", "abab7777", own.every, own.ids, {"pairs": own.pins["pairs"]})
    with pytest.raises(LineageError, match="pins no version of prompts, completions"):
        rows(own.home, "bare")
