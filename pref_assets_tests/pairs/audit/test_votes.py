import polars as pl
import pytest

from pref_assets.pairs.audit.swapped import SwappedCopies
from pref_assets.pairs.audit.votes import ContradictoryLabels, PromptsDiffer, Tie
from pref_assets_tests.pairs.audit.build import Tables, audit, details, tables


def vote(choice, annotator="ann", dimension="overall"):
    return {"annotator": annotator, "dimension": dimension, "choice": choice}


def test_ties():
    two = [vote("chosen"), vote("rejected")]
    found = details(Tie(), ("q", "a", "b", {"p_chosen": 0.5, "votes": two}), ("q", "a", "c", {"p_chosen": 0.75}))
    assert found == {1: "a tie after 2 votes"}


def test_sides_that_answer_different_prompts():
    found = details(PromptsDiffer(), ("q", "a", "b", {"other_prompt": "r"}), ("q", "a", "b"))
    assert found == {1: "the two sides answer different prompts"}


def test_an_annotator_contradicts_themselves_but_people_may_disagree():
    found = details(
        ContradictoryLabels(),
        ("q", "a", "b", {"votes": [vote("chosen"), vote("rejected", "bob")]}),
        ("q", "a", "c", {"votes": [vote("chosen"), vote("chosen"), vote("rejected")]}),
        ("q", "a", "d", {"votes": [vote("chosen", dimension="help"), vote("rejected", dimension="style")]}),
        ("q", "a", "e", {"votes": [vote("chosen"), vote("tie")]}),
        ("q", "a", "f", {"votes": [vote(c, a) for a in ("zoe", "bob") for c in ("chosen", "rejected")]}),
    )
    assert found == {
        2: "annotator `ann` gave 2 votes for the chosen side and 1 for the rejected one on `overall`",
        5: "annotator `bob` gave 1 votes for the chosen side and 1 for the rejected one on `overall`; "
        "annotator `zoe` gave 1 votes for the chosen side and 1 for the rejected one on `overall`",
    }


COPIES = (
    ("What is it?", "a cat", "a dog"),
    ("what is  it?", "A dog", "A cat"),
    ("What is it?", "a cat", "a cow"),
    ("What is that?", "a dog", "a cat"),
    ("What is it? ", "a  cat", "a dog"),
)


def test_copies_with_the_label_turned_round():
    found = audit(tables(*COPIES), SwappedCopies())
    assert found["pair_id"].to_list() == ["1", "2", "5"]
    texts = found["detail"].str.replace(r"[0-9a-f]{32}", "ID").to_list()
    for text, number in zip(texts, (1, 2, 1), strict=True):
        assert text == f"{number} pairs that are otherwise the same prefer the opposite side, first pair ID"


def test_only_the_later_copy_is_flagged_where_batches_arrive_in_order():
    old, new = tables(*COPIES[:1], batch="old"), tables(*COPIES[1:], batch="new", start=2)
    both = Tables(*(pl.concat(frames).unique(frames[0].columns[0]) for frames in zip(old, new, strict=True)))
    arrival = pl.DataFrame({"source": ["s", "s"], "batch": ["old", "new"], "sequence": [3, 7]})
    # Row 5 agrees with row 1, and repeats with row 2 in its own batch, which came before it.
    assert audit(both, SwappedCopies(), arrival=arrival)["pair_id"].to_list() == ["2", "5"]
    late = arrival.with_columns(pl.Series("sequence", [9, 7]))
    assert audit(both, SwappedCopies(), arrival=late)["pair_id"].to_list() == ["1", "5"]
    with pytest.raises(ValueError, match="batch 'new' of source 's'"):
        audit(both, SwappedCopies(), arrival=arrival.head(1))


def test_a_tie_contradicts_nothing():
    first, second, *_ = COPIES
    for share, flagged in ((0.51, ["1", "2"]), (0.5, []), (float("nan"), [])):
        assert audit(tables(first, (*second, {"p_chosen": share})), SwappedCopies())["pair_id"].to_list() == flagged
