import json
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pref_assets.pairs.merge import Merged, PairsSettings, merge, merge_buckets
from pref_assets.pairs.pairing import Pairing
from pref_assets.pairs.schema import COMPARISONS, COMPLETIONS, PAIR_DROPS, PAIRS, PROMPTS, pair_id
from pref_assets.pairs.votes import DawidSkene, Majority, OneAnnotator, OneDimension, Weighted
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
        tables = (PROMPTS, COMPLETIONS, COMPARISONS, PAIRS, PAIR_DROPS)
        frames = (result.prompts, result.completions, result.comparisons, result.pairs, result.drops)
        for table, frame in zip(tables, frames, strict=True):
            assert frame.schema == table.schema
            assert_frame_equal(frame, frame.sort(table.order or table.key, nulls_last=True))
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
        ("unresolved", "the votes give the chosen side a share of 0.6667, below 0.7")
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
    st.sampled_from(["all", "best_vs_rest", "best_vs_worst", "adjacent", "random_k"]),
    st.sampled_from([Majority(ties="keep"), Weighted(annotators={"x": 0.1, "y": 0.7}), DawidSkene()]),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_order_of_rows_and_batches_and_size_of_buckets_do_not_matter(rows, many, rule, votes, size, random):
    options = PairsSettings(pairing=Pairing(type=rule), votes=votes)
    # Two rows that say the same and two that cross prompts, so that every policy and the last bucket have work.
    known = [pair("a", "b", "r", annotator="x"), pair("a", "b", "r", annotator="y"), pair("c", "d", "s")]
    rows = rows + known
    parts = [read(rows), read_completions(many, uri="many.jsonl", batch="b2"), read(rows, batch="b3")]
    frames = together(*parts)
    frames = (*frames[:2], pl.concat([frames[2], crossed(frames[2], frames[1])]))
    first = merge(*frames, options)
    shuffled = [frame.sample(fraction=1, shuffle=True, seed=random.randint(0, 99)) for frame in frames]
    buckets = list(merge_buckets(*(frame.lazy() for frame in shuffled), options, rows=size))
    assert len(buckets) > 1
    for name in ("prompts", "completions", "comparisons"):
        second = pl.concat(getattr(bucket, name) for bucket in buckets)
        assert_frame_equal(getattr(first, name), second, check_exact=True)


def crossed(votes: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """One vote on completions of two prompts, in the place of the last row."""
    ends = completions.unique("prompt_id").sort("prompt_id")["completion_id"].to_list()
    a, b = sorted(ends[:2])
    last = votes.sort("source", "uri", "row", "batch").tail(1)
    return last.with_columns(prompt_id=pl.lit(None, pl.String), completion_a=pl.lit(a), completion_b=pl.lit(b))


def test_weights_and_reliability_settle_pairs():
    rows = [pair("a", "b", annotator="x"), pair("b", "a", annotator="y"), pair("b", "a", annotator="z")]
    heavy = merged(read(rows), votes=Weighted(annotators={"x": 3.0}))
    assert said(heavy) == [("a", "b")]
    assert heavy.pairs["p_chosen"].to_list() == [0.6]
    assert said(merged(read(rows), votes=Weighted(annotators={"x": 3}, other_annotators=0))) == [("a", "b")]
    # x and w agree on twenty other pairs, against v each time; so x outweighs v, whom majority would call even.
    shared = [pair(f"good {i}", f"bad {i}", f"p {i}", annotator=who) for i in range(20) for who in ("x", "w")]
    shared += [pair(f"bad {i}", f"good {i}", f"p {i}", annotator="v") for i in range(20)]
    contested = [pair("a", "b", annotator="x"), pair("b", "a", annotator="v")]
    assert merged(read(shared + contested)).drops["code"].to_list() == ["tie"]
    result = merged(read(shared + contested), votes=DawidSkene())
    assert ("a", "b") in said(result)
    assert result.drops.is_empty()
    assert result.pairs["p_chosen"].is_between(0.9, 1).all()


def test_tie_votes_may_count_for_nothing():
    votes = [{"a": 0, "b": 1, "choice": choice, "annotator": choice} for choice in ("a", "tie")]
    row = {"prompt": "q", "completions": [{"content": "a"}, {"content": "b"}], "votes": votes}
    only = {**row, "prompt": "p", "votes": votes[1:]}
    half = merged(read_completions([row, only]))
    assert half.pairs["p_chosen"].to_list() == [0.75]
    none = merged(read_completions([row, only]), votes=Majority(tie_votes="ignore"))
    assert none.pairs["p_chosen"].to_list() == [1.0]
    assert half.drops["code"].to_list() == none.drops["code"].to_list() == ["tie"]


def test_a_prompt_of_a_group_has_the_split_of_its_first():
    rows = [pair("a", "b", f"prompt {i}") for i in range(40)]
    records = together(read(rows))
    alone = merge(*records, DEFAULT)
    [held, *_] = alone.prompts.filter(split="test")["prompt_id"]
    others = alone.prompts.filter(split="train").head(3)["prompt_id"]
    groups = pl.DataFrame({"prompt_id": others, "group_id": [held] * 3})
    # Buckets of one prompt: the first of a group lies in another than the rest.
    parts = list(merge_buckets(*(frame.lazy() for frame in records), DEFAULT, groups, rows=1))
    prompts = pl.concat(part.prompts for part in parts)
    compared = pl.concat(part.comparisons for part in parts)
    of_group = prompts.filter(pl.col("prompt_id").is_in([held, *others]))
    assert (set(of_group["group_id"]), set(of_group["split"]), of_group.height) == ({held}, {"test"}, 4)
    assert set(compared.filter(pl.col("prompt_id").is_in(others.implode()))["split"]) == {"test"}
    rest = prompts.filter(~pl.col("prompt_id").is_in(others.implode()))
    assert_frame_equal(rest, alone.prompts.join(rest, on="prompt_id", how="semi", maintain_order="left"))
    lost = groups.with_columns(group_id=pl.lit("f" * 32))
    with pytest.raises(ValueError, match="3 prompts are in groups of prompts that are not there"):
        merge(*records, DEFAULT, lost)


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
