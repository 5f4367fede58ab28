import json
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pref_assets.pairs.merge import Merged, PairsSettings, merge
from pref_assets.pairs.pairing import Pairing
from pref_assets.pairs.schema import COMPLETIONS, PAIR_DROPS, PAIRS, PROMPTS, pair_id
from pref_assets.pairs.votes import Majority, OneAnnotator, OneDimension
from pref_assets_tests.pairs.build import read, read_completions, together

DEFAULT = PairsSettings()


def merged(*parts, **fields) -> Merged:
    return merge(*together(*parts), PairsSettings(**fields))


def said(result: Merged, pairs: pl.DataFrame | None = None) -> list[tuple[str, str]]:
    """Chosen and rejected texts, sorted."""
    text = {c: turns[0]["content"] for c, turns in result.completions.select("completion_id", "messages").iter_rows()}
    frame = result.pairs if pairs is None else pairs
    return sorted((text[a], text[b]) for a, b in frame.select("chosen_id", "rejected_id").iter_rows())


def pair(chosen, rejected, prompt="q", **extra):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **extra}


def test_tables_have_the_schema_and_are_sorted():
    for result in (merged(read([pair("a", "b"), pair("a", "c"), pair("d", "e", "p")])), merged(read([]))):
        tables = (PROMPTS, COMPLETIONS, PAIRS, PAIR_DROPS)
        frames = (result.prompts, result.completions, result.pairs, result.drops)
        for table, frame in zip(tables, frames, strict=True):
            assert frame.schema == table.schema
            assert frame[table.key[0]].is_sorted()
            assert frame[table.key[0]].is_unique().all()


def test_a_pair_is_oriented_and_joined():
    result = merged(read([pair("good", "bad", margin=2.0, annotator="x")]))
    [found] = result.pairs.rows(named=True)
    assert said(result) == [("good", "bad")]
    assert found["pair_id"] == pair_id(found["chosen_id"], found["rejected_id"])
    assert found["prompt_id"] == result.prompts["prompt_id"][0]
    assert found["split"] == result.prompts["split"][0]
    assert (found["p_chosen"], found["strength"]) == (1.0, 2.0)
    assert found["votes"] == [
        {"annotator": "x", "dimension": "overall", "choice": "chosen", "strength": 2.0, "rationale": None}
    ]
    place = {"source": "s", "uri": "rows.jsonl", "row": 1, "batch": "b1"}
    assert found["provenance"] == [place] == result.prompts["provenance"].to_list()[0]


def test_opposite_labels_are_one_pair_with_two_votes():
    result = merged(read([pair("a", "b"), pair("b", "a")]))
    assert result.pairs.height == 0
    [drop] = result.drops.rows(named=True)
    assert drop["code"] == "tie"
    assert drop["reason"] == "1 votes for one side, 1 for the other, 0 for a tie"
    assert [place["row"] for place in drop["provenance"]] == [1, 2]


def test_kept_ties_have_half_and_the_smaller_id_first():
    result = merged(read([pair("a", "b"), pair("b", "a")]), votes=Majority(ties="keep"))
    [found] = result.pairs.rows(named=True)
    assert found["p_chosen"] == 0.5
    assert found["chosen_id"] < found["rejected_id"]
    assert sorted(vote["choice"] for vote in found["votes"]) == ["chosen", "rejected"]


def test_the_majority_decides_and_every_vote_stays():
    rows = [pair("a", "b", margin=1.0), pair("a", "b", margin=3.0), pair("b", "a", margin=9.0)]
    result = merged(read(rows))
    [found] = result.pairs.rows(named=True)
    assert said(result) == [("a", "b")]
    assert found["p_chosen"] == 2 / 3
    assert found["strength"] == 2.0
    assert [vote["choice"] for vote in found["votes"]] == ["chosen", "chosen", "rejected"]
    # The same share, to the last bit, whichever side has the smaller id.
    swapped = merged(read([pair("b", "a"), pair("b", "a"), pair("a", "b")]))
    assert swapped.pairs["p_chosen"].to_list() == [2 / 3]


def test_a_tie_vote_counts_half_for_each():
    votes = [{"a": 0, "b": 1, "choice": choice} for choice in ("a", "a", "tie")]
    row = {"prompt": "q", "completions": [{"content": "a"}, {"content": "b"}], "votes": votes}
    # Votes of one row that say the same are one vote; from two rows they are two.
    one = merged(read_completions([row]))
    assert one.pairs["p_chosen"].to_list() == [0.75]
    two = merged(read_completions([row, {**row, "votes": votes[:1]}]))
    assert two.pairs["p_chosen"].to_list() == [pytest.approx(2.5 / 3)]


def test_too_small_a_majority_is_unresolved():
    rows = [pair("a", "b"), pair("a", "b"), pair("b", "a")]
    result = merged(read(rows), votes=Majority(min_share=0.7))
    assert result.drops.select("code", "reason").rows() == [
        ("unresolved", "the chosen side has a share of 0.6667 of the votes, below 0.7")
    ]
    assert said(result, result.drops) == [("a", "b")]
    assert merged(read(rows), votes=Majority(min_share=0.6)).pairs.height == 1


def test_one_annotator_and_one_dimension():
    rows = [pair("a", "b", annotator="x"), pair("b", "a", annotator="y"), pair("b", "a", annotator="z")]
    assert said(merged(read(rows))) == [("b", "a")]
    by_x = merged(read(rows), votes=OneAnnotator(annotator="x"))
    assert said(by_x) == [("a", "b")]
    assert by_x.pairs["p_chosen"].to_list() == [1.0]
    assert len(by_x.pairs["votes"][0]) == 3
    by_none = merged(read(rows), votes=OneAnnotator(annotator="w"))
    assert by_none.drops.select("code", "reason").rows() == [
        ("no_vote", "no votes of annotator `w`, which alone count, are on this pair")
    ]
    assert merged(read(rows), votes=OneDimension(dimension="overall")).pairs.height == 1
    assert merged(read(rows), votes=OneDimension(dimension="length")).drops["code"].to_list() == ["no_vote"]


def test_a_row_read_twice_counts_once_and_both_batches_are_named():
    result = merged(read([pair("a", "b")]), read([pair("a", "b")], batch="b2"))
    assert len(result.pairs["votes"][0]) == 1
    assert [place["batch"] for place in result.pairs["provenance"][0]] == ["b1", "b2"]


def test_metadata_model_and_ratings_of_several_rows():
    first = {"prompt": "q", "completions": [{"content": "a", "ratings": [{"value": 1}]}], "metadata": {"n": 1}}
    second = {
        "prompt": "q",
        "completions": [{"content": "a", "model": "m", "ratings": [{"value": 1}, {"value": 0, "annotator": "x"}]}],
        "metadata": {"n": 2},
    }
    result = merged(read_completions([second], start=2), read_completions([first]))
    assert json.loads(result.prompts["metadata"][0]) == {"n": 1}
    assert result.completions["model"].to_list() == ["m"]
    assert [(r["annotator"], r["value"]) for r in result.completions["ratings"][0]] == [("unknown", 1.0), ("x", 0.0)]


def test_votes_of_rows_and_of_ratings_meet():
    rated = {
        "prompt": "q",
        "completions": [
            {"content": "a", "ratings": [{"value": 1.0, "annotator": "x"}]},
            {"content": "b", "ratings": [{"value": 0.25, "annotator": "x"}]},
        ],
    }
    result = merged(read_completions([rated]), read([pair("a", "b")], uri="other.jsonl"))
    [found] = result.pairs.rows(named=True)
    assert [(vote["annotator"], vote["strength"]) for vote in found["votes"]] == [("unknown", None), ("x", 0.75)]
    assert [place["uri"] for place in found["provenance"]] == ["other.jsonl", "rows.jsonl"]


def test_pairs_of_two_prompts_have_none_and_must_share_a_split():
    rows = [pair("a", "b", f"prompt {i}") for i in range(40)]
    records = read(rows)
    completions = records.completions.sort("row")
    ends = completions.gather_every(2)["completion_id"].to_list()
    crossed = records.votes.head(39).with_columns(
        completion_a=pl.Series([min(x) for x in pairwise(ends)]),
        completion_b=pl.Series([max(x) for x in pairwise(ends)]),
    )
    result = merge(records.prompts, records.completions, crossed, DEFAULT)
    assert result.pairs["prompt_id"].null_count() == result.pairs.height > 0
    assert set(result.drops["code"]) == {"two_splits"}
    assert result.pairs.height + result.drops.height == 39


def test_a_vote_on_nothing_is_an_error():
    records = read([pair("a", "b")])
    with pytest.raises(ValueError, match="not there"):
        merge(records.prompts, records.completions.head(1), records.votes, DEFAULT)
    with pytest.raises(ValueError, match="prompts that are not there"):
        merge(records.prompts.head(0), records.completions, records.votes, DEFAULT)


texts = st.sampled_from(["a", "b", "c", "d"])
trl = st.builds(
    pair,
    texts,
    texts,
    st.sampled_from(["q", "p"]),
    margin=st.none() | st.floats(0, 1),
    annotator=st.sampled_from(["x", "y"]),
    note=st.integers(0, 2),
)
ratings = st.lists(
    st.fixed_dictionaries({"value": st.sampled_from([0, 0.1, 0.3, 1]), "annotator": st.sampled_from(["x", "y"])}),
    max_size=3,
)
rated = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["q", "p"]),
        "completions": st.lists(
            st.fixed_dictionaries({"content": texts, "ratings": ratings, "model": st.sampled_from([None, "m", "n"])}),
            min_size=1,
            max_size=4,
        ),
        "metadata": st.none() | st.fixed_dictionaries({"n": st.integers(0, 2)}),
    }
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(trl, max_size=8),
    st.lists(rated, max_size=4),
    st.sampled_from(["all", "best_vs_rest", "best_vs_worst", "adjacent"]),
    st.randoms(use_true_random=False),
)
def test_the_order_of_rows_and_batches_does_not_matter(rows, many, rule, random):
    options = PairsSettings(pairing=Pairing(type=rule), votes=Majority(ties="keep"))
    parts = [read(rows), read_completions(many, uri="many.jsonl", batch="b2"), read(rows, batch="b3")]
    first = merge(*together(*parts), options)
    shuffled = [frame.sample(fraction=1, shuffle=True, seed=random.randint(0, 99)) for frame in together(*parts)]
    second = merge(*shuffled, options)
    for name in ("prompts", "completions", "pairs", "drops"):
        assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


@settings(max_examples=30, deadline=None)
@given(st.lists(trl, min_size=1, max_size=8), st.integers(0, 8))
def test_every_comparison_is_a_pair_or_a_drop_once(rows, kept):
    records = read(rows)
    result = merged(records)
    compared = {pair_id(a, b) for a, b in records.votes.select("completion_a", "completion_b").iter_rows()}
    ids = result.pairs["pair_id"].to_list() + result.drops["pair_id"].to_list()
    assert sorted(ids) == sorted(compared)
    # A split never depends on what else is there.
    alone = merged(read(rows[:kept])).prompts
    both = alone.join(result.prompts, on="prompt_id", suffix="_all")
    assert both.height == alone.height
    assert both["split"].to_list() == both["split_all"].to_list()
