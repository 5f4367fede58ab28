"""The bias sheet of a few pairs, worked out by hand, and the same whatever the chunks and the order of rows."""

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from pref_assets.inspection.bias import METRICS, BiasSheet, Compared, judged, losses, preferences
from pref_assets.inspection.plots import PICTURES, TITLES, overview, pictures
from pref_assets.inspection.sheet import markdown
from pref_assets.pairs.merge import Merged, PairsSettings, merge
from pref_assets.pairs.readers import CompletionsSource
from pref_assets.pairs.readers.base import Records
from pref_assets.pairs.schema import AGREEMENT, BIAS, RAW


def answer(text: str, model: str | None, **values: float) -> dict[str, Any]:
    ratings = [
        {"dimension": "overall", "value": value, "annotator": annotator} for annotator, value in sorted(values.items())
    ]
    return {"content": text, "model": model, "ratings": ratings}


ROWS = [
    # The longer answer wins, it stands first, one vote; model big over small; a list against none.
    ("Name fruits.", [answer("- apple\n- pear\n- plum", "big", ann=1), answer("apple", "small", ann=0)]),
    # The shorter answer wins, it stands second, both votes; model small over big.
    ("Say hello.", [answer("Hello to you all", "big", ann=0, bo=0), answer("Hello", "small", ann=1, bo=1)]),
    # The longer answer wins, it stands second, two votes of three; the same model on both sides.
    ("Count.", [answer("one two", "big", ann=1, bo=0, cy=0), answer("one two three!", "big", ann=0, bo=1, cy=1)]),
    # A tie prefers neither.
    ("Be quiet.", [answer("Yes", "big", ann=1), answer("No no no no", "small", ann=1)]),
    # Equal words; nobody knows the model of one.
    ("Choose.", [answer("left", None, ann=1), answer("right", "small", ann=0)]),
]


def read(rows: list[tuple[str, list[dict[str, Any]]]]) -> Records:
    import json

    raw = [
        {
            "source": "made",
            "uri": "f",
            "row": n,
            "batch": "b",
            "payload": json.dumps({"prompt": prompt, "completions": answers}),
            "code": None,
            "reason": None,
        }
        for n, (prompt, answers) in enumerate(rows, 1)
    ]
    return CompletionsSource(location="f").read(RAW.frame(raw))


def compared(records: Records, merged: Merged, pairs: pl.DataFrame | None = None) -> Compared:
    kept = merged.pairs if pairs is None else pairs
    frames = (merged.comparisons, kept, merged.prompts, merged.completions, records.completions)
    return Compared(*(frame.lazy() for frame in frames))


@pytest.fixture(scope="module")
def records() -> Records:
    return read(ROWS)


@pytest.fixture(scope="module")
def merged(records: Records) -> Merged:
    return merge(records.prompts, records.completions, records.votes, PairsSettings())


@pytest.fixture(scope="module")
def bias(records: Records, merged: Merged) -> pl.DataFrame:
    return preferences(compared(records, merged), BiasSheet())


def value(bias: pl.DataFrame, metric: str, group: str, data: str = "pairs") -> tuple[float, int]:
    row = bias.filter(data=data, metric=metric, group=group).row(0, named=True)
    return pytest.approx(row["value"]), row["n"]


def test_lengths(bias: pl.DataFrame) -> None:
    # Words of chosen and rejected: 6-1, 1-4, 3-2, 1-1 ("- apple" has two words).
    assert value(bias, "longer_preferred", "words") == (2 / 3, 3)
    # Characters: 22-5, 5-16, 14-7, 4-5.
    assert value(bias, "longer_preferred", "characters") == (2 / 4, 4)
    assert value(bias, "length_gap", "words, mean") == ((5 - 3 + 1 + 0) / 4, 4)
    assert value(bias, "length_gap", "words, median") == (0.5, 4)
    assert value(bias, "longer_preferred_by_gap", "1.5–2.0×") == (1.0, 1)
    assert value(bias, "longer_preferred_by_gap", "4.0× and more") == (0.5, 2)
    assert value(bias, "longer_preferred_by_source", "made") == (2 / 3, 3)


def test_agreement_of_votes(bias: pl.DataFrame) -> None:
    assert value(bias, "longer_preferred_by_agreement", "one vote") == (1.0, 1)
    assert value(bias, "longer_preferred_by_agreement", "all votes for it") == (0.0, 1)
    assert value(bias, "longer_preferred_by_agreement", "some votes against it") == (1.0, 1)
    # Votes for the longer answer: 1 of 1, 0 of 2, 2 of 3.
    assert value(bias, "longer_preferred_by_dimension", "overall") == (3 / 6, 6)


def test_form_model_and_place(bias: pl.DataFrame) -> None:
    assert value(bias, "trait_preferred", "list") == (1.0, 1)
    assert value(bias, "trait_preferred", "exclamation") == (1.0, 1)
    assert bias.filter(metric="trait_preferred", group="table").is_empty()
    assert value(bias, "model_preferred", "big") == (0.5, 2)
    assert value(bias, "model_preferred", "small") == (0.5, 2)
    # First, second, second, first.
    assert value(bias, "first_preferred", "made") == (0.5, 4)
    assert bias.filter(metric="source_preferred").is_empty()


def test_pairs_that_curation_took_out_count_before_and_not_after(records: Records, merged: Merged) -> None:
    longest = merged.completions.filter(pl.col("messages").list.first().struct.field("content").str.starts_with("-"))
    kept = merged.pairs.filter(~pl.col("chosen_id").is_in(longest["completion_id"].implode()))
    bias = preferences(compared(records, merged, kept), BiasSheet())
    assert value(bias, "longer_preferred", "words", "comparisons") == (2 / 3, 3)
    assert value(bias, "longer_preferred", "words") == (1 / 2, 2)


def test_chunks_and_the_order_of_rows_change_nothing(records: Records, merged: Merged, bias: pl.DataFrame) -> None:
    frames = (merged.comparisons, merged.pairs, merged.prompts, merged.completions, records.completions)
    shuffled = Compared(*(frame.sample(fraction=1, shuffle=True, seed=3).lazy() for frame in frames))
    for chunk in (1, 2, 100):
        assert preferences(shuffled, BiasSheet(chunk=chunk)).equals(bias)


def test_pairs_of_one_prompt_that_chunks_cut_apart_stay_together() -> None:
    answers = [answer("word " * (n + 1), None, ann=n) for n in range(5)]
    records = read([("Write.", answers), ("Write more.", answers)])
    merged = merge(records.prompts, records.completions, records.votes, PairsSettings())
    tables = compared(records, merged)
    assert preferences(tables, BiasSheet(chunk=3)).equals(preferences(tables, BiasSheet(chunk=100)))


def test_nothing_compared_is_an_empty_sheet(records: Records, merged: Merged) -> None:
    none = Merged(merged.prompts, merged.completions, merged.comparisons.clear())
    empty = preferences(compared(records, none), BiasSheet())
    assert empty.equals(BIAS.empty())
    assert overview(empty) is None
    assert pictures(empty) == {}
    assert markdown("p", empty).startswith("# Bias sheet: p")


def test_losses_and_agreement() -> None:
    drops = pl.DataFrame({"code": ["tie"], "len": [1]})
    refused = pl.DataFrame({"source": ["made"], "code": ["wrong_type"], "len": [2]})
    lost = losses(4, drops, {"made": 10}, refused)
    assert lost.select("metric", "group", "value", "n").rows() == [
        ("dropped", "tie", 0.25, 4),
        ("quarantined", "made: wrong_type", 0.2, 10),
    ]
    row = {"dimension": "overall", "pairs": 4, "votes": 8, "annotators": 2, "alpha": None, "unanimous": 0.5}
    one = judged(AGREEMENT.frame([{"source": source, **row} for source in ("all", "made")]))
    assert one.select("metric", "group", "value").rows() == [("unanimous", "made / overall", 0.5)]
    two = judged(AGREEMENT.frame([{"source": source, **row} for source in ("all", "made", "other")]))
    assert two.height == 3


def test_every_metric_is_drawn_and_told(bias: pl.DataFrame) -> None:
    told = {metric for metrics in PICTURES.values() for metric in metrics}
    assert told | {"length_gap"} == set(METRICS)
    assert set(TITLES) == told
    drawn = pictures(bias)
    assert set(drawn) == {"length", "form", "origin"}
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())
    assert pictures(bias) == drawn
    text = markdown("p", bias, {"form": "bias_form.png"})
    assert "![Form](bias_form.png)" in text
    assert "| words | 66.7 % (" in text


def test_above_the_bound_whole_prompts_with_the_smallest_ids_are_measured(records: Records, merged: Merged) -> None:
    tables = compared(records, merged)
    settled = merged.comparisons.filter(pl.col("p_chosen") > 0.5)
    bound = settled.height - 1
    sampled = preferences(tables, BiasSheet(max_pairs=bound))
    last = settled["prompt_id"].sort()[bound]
    by_hand = replace(tables, comparisons=merged.comparisons.filter(pl.col("prompt_id") < last).lazy())
    assert sampled.equals(preferences(by_hand, BiasSheet()))
    assert not sampled.equals(preferences(tables, BiasSheet()))


def test_a_sample_takes_prompts_whole_and_knows_pairs_across_prompts(records: Records, merged: Merged) -> None:
    across = merged.comparisons.with_columns(prompt_id=pl.lit(None, pl.String))
    for comparisons in (merged.comparisons, across):
        settled = comparisons.filter(pl.col("p_chosen") > 0.5)
        tables = compared(records, Merged(merged.prompts, merged.completions, comparisons), settled)
        found = preferences(tables, BiasSheet(max_pairs=2))
        assert found.filter(metric="length_gap", data="pairs")["n"].unique().to_list() == [2]
    answers = [answer("word " * (n + 1), None, ann=n) for n in range(5)]
    one = read([("Write.", answers)])
    whole = merge(one.prompts, one.completions, one.votes, PairsSettings())
    assert value(preferences(compared(one, whole), BiasSheet(max_pairs=3)), "longer_preferred", "words") == (1.0, 10)
