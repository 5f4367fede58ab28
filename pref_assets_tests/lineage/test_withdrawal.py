"""Conditions of tombstones on tables: hand-made rows, every kind."""

import polars as pl
import pytest

from pref_assets.home import Home
from pref_assets.lineage.impact import History, impact
from pref_assets.lineage.withdrawal import Records, Selector, Tombstones, tombstones, withdraw, withdrawn
from pref_assets.pairs.schema import (
    COMPARISONS,
    COMPLETIONS,
    CRITIQUES,
    RECORD_COMPLETIONS,
    RECORD_PROMPTS,
    RECORD_VOTES,
    pair_id,
)


def place(source="s", uri="f", row=1):
    return {"source": source, "uri": uri, "row": row, "batch": "b"}


def rating(annotator):
    return {"dimension": "overall", "value": 1.0, "annotator": annotator, "rationale": None}


def vote(prompt, a, b, annotator="ann", **where):
    said = {"prompt_id": prompt, "completion_a": a, "completion_b": b, "annotator": annotator, "choice": "a"}
    return {**dict.fromkeys(RECORD_VOTES.columns), **said, "dimension": "overall", **place(**where)}


def filled(table, rows):
    return table.frame([{**dict.fromkeys(table.columns), **row} for row in rows]).lazy()


@pytest.fixture
def records():
    """p: completions a, b, c; q: d. ``a`` is held by two rows; one vote compares across prompts."""
    answers = [("a", "p", 1), ("b", "p", 1), ("a", "p", 2), ("c", "p", 2), ("d", "q", 3)]
    return Records(
        filled(RECORD_PROMPTS, [{"prompt_id": p, **place(row=row)} for p, row in (("p", 1), ("p", 2), ("q", 3))]),
        filled(
            RECORD_COMPLETIONS,
            [
                {
                    "completion_id": completion,
                    "prompt_id": prompt,
                    "ratings": [rating("ann"), rating(None), rating("bo")],
                    **place(row=row),
                }
                for completion, prompt, row in answers
            ],
        ),
        filled(
            RECORD_VOTES,
            [vote("p", "a", "b"), vote("p", "a", "c", "bo", row=2), vote(None, "c", "d", None, row=4)],
        ),
    )


def left(records, *selectors):
    """Ids of prompts, completions and votes that are left, each sorted."""
    found = withdrawn(*records, Tombstones(selectors))
    prompts, completions, votes = pl.collect_all(found)
    return (
        "".join(sorted(set(prompts["prompt_id"]))),
        "".join(sorted(set(completions["completion_id"]))),
        sorted("".join(sides) for sides in votes.select("completion_a", "completion_b").rows()),
    )


EVERY = ("pq", "abcd", ["ab", "ac", "cd"])


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (Selector("source", "s"), ("", "", [])),
        (Selector("source", "other"), EVERY),
        (Selector("file", "f"), ("", "", [])),
        (Selector("row", "f:1"), ("pq", "acd", ["ac", "cd"])),
        (Selector("row", "f:12"), EVERY),
        (Selector("annotator", "bo"), ("pq", "abcd", ["ab", "cd"])),
        (Selector("prompt", "p"), ("q", "d", [])),
        (Selector("prompt", "q"), ("p", "abc", ["ab", "ac"])),
        (Selector("completion", "a"), ("pq", "bcd", ["cd"])),
        (Selector("pair", pair_id("a", "c")), ("pq", "abcd", ["ab", "cd"])),
        (Selector("pair", pair_id("c", "d")), ("pq", "abcd", ["ab", "ac"])),
    ],
)
def test_what_is_left(records, selector, expected):
    assert left(records, selector) == expected


def test_nothing_goes_without_tombstones_and_all_of_them_together(records):
    assert left(records) == EVERY
    together = [Selector("annotator", "bo"), Selector("completion", "b"), Selector("row", "f:3")]
    assert left(records, *together) == ("p", "ac", ["cd"])


def test_ratings_of_an_annotator_go_and_unnamed_ones_stay(records):
    found = withdrawn(*records, Tombstones([Selector("annotator", "bo")])).completions.collect()
    assert found["ratings"].list.eval(pl.element().struct.field("annotator")).to_list() == [["ann", None]] * 5


@pytest.mark.parametrize(
    ("selector", "tainted"),
    [
        (Selector("source", "s"), ["1", "2"]),
        (Selector("file", "g"), ["2"]),
        (Selector("row", "g:1"), ["2"]),
        (Selector("row", "g:2"), []),
        (Selector("annotator", "bo"), ["1"]),
        (Selector("prompt", "q"), ["2"]),
        (Selector("completion", "a"), ["1"]),
        (Selector("completion", "d"), ["2"]),
        (Selector("pair", "1"), ["1"]),
    ],
)
def test_pairs_that_hold_it(selector, tainted):
    cast = [{"annotator": "bo", "dimension": "overall", "choice": "tie", "strength": None, "rationale": None}]
    rows = [
        {
            "pair_id": "1",
            "prompt_id": "p",
            "chosen_id": "a",
            "rejected_id": "b",
            "votes": cast,
            "provenance": [place()],
        },
        {"pair_id": "2", "prompt_id": "q", "chosen_id": "c", "rejected_id": "d", "provenance": [place(uri="g")]},
        {"pair_id": "3", "chosen_id": "e", "rejected_id": "f", "votes": [], "provenance": []},
    ]
    found = filled(COMPARISONS, rows).filter(Tombstones([selector]).pairs()).collect()
    assert found["pair_id"].to_list() == tainted


def test_tombstones_are_written_once_with_reason_and_time(tmp_path):
    home = Home(tmp_path)
    assert tombstones(home, "p").is_empty()
    first, second = Selector("annotator", "bo"), Selector("row", "a:b.jsonl:3")
    _, new = withdraw(home, "p", [first, first], " asked to ")
    assert new == [first]
    snapshot, new = withdraw(home, "p", [second, first], "wrong")
    assert (new, snapshot.version, snapshot.rows) == ([second], 1, 2)
    found = tombstones(home, "p")
    assert found.select("kind", "value", "reason").rows() == [
        ("annotator", "bo", "asked to"),
        ("row", "a:b.jsonl:3", "wrong"),
    ]
    assert found["at"].is_sorted()
    assert withdraw(home, "p", [first], "again")[0].version == 1
    with pytest.raises(ValueError, match="--reason"):
        withdraw(home, "p", [Selector("annotator", "cy")], " ")


@pytest.mark.parametrize(
    ("selector", "plain", "criticised"),
    [("annotator:zoe", 0, 1), ("annotator:ann", 2, 2), ("row:late.jsonl:9", 0, 1), ("annotator:nobody", 0, 0)],
)
def test_a_checkpoint_that_learned_critiques_is_tainted_by_who_only_commented(own, selector, plain, criticised):
    """A withdrawn comment is in no vote and in no pair's provenance."""
    kind, _, value = selector.partition(":")
    pairs = own.merged.pairs
    one = pairs.filter(pair_id=own.ids[0])["chosen_id"].item()
    rows = own.merged.completions.to_dicts()
    for row in rows:
        if row["completion_id"] == one:
            row["ratings"].append({"dimension": "reason", "value": None, "annotator": "zoe", "rationale": "Good."})
            row["provenance"].append({"source": "late", "uri": "late.jsonl", "row": 9, "batch": "b2"})
    pins = {**own.pins, "completions": own.write(("pairs", "completions"), COMPLETIONS.frame(rows), COMPLETIONS)}
    said = {"completion_id": one, "critique": "Good.", "reasons": "Good.", "writer": "human", "category": "said"}
    own.train("plain", "1" * 8, own.every, own.ids, pins)
    pins["critiques"] = own.write(("critiques", "own"), CRITIQUES.frame([said]), CRITIQUES)
    own.train("critic", "2" * 8, own.every, own.ids, pins)
    found = impact(own.home, "p", [Selector(kind, value)], History((), ()))
    tainted = {each.name: each.before.tainted for each in found.checkpoints}
    assert tainted == {"rm": plain, "plain": plain, "critic": criticised}
