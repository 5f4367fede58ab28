"""MIA-DPO's rule on numbers planted by hand."""

from typing import Any

import polars as pl
import pytest

from pref_assets.pairs.schema import COMPLETIONS, PAIR_SCORES, PAIRS, PROMPTS
from pref_assets.pool import Pool
from pref_assets.selection import AttentionRatioSelector
from pref_assets.selection.attention_ratio import edit_distance
from pref_assets_tests.selection.invariants import assert_promises

GOOD: dict[str, Any] = {"ratio": 0.1, "images": 2, "perplexity": 2.0, "layout": "sequence"}


def pool_of(*rows: dict[str, Any]) -> Pool:
    """One train pair a row: p0, p1, …"""
    whole = [{**GOOD, "chosen": "red", "rejected": "blue", **row} for row in rows]
    names = range(len(whole))
    pairs = PAIRS.frame(
        {
            "pair_id": f"p{i}",
            "prompt_id": f"q{i}",
            "chosen_id": f"c{i}",
            "rejected_id": f"r{i}",
            "p_chosen": 1.0,
            "split": "train",
        }
        for i in names
    )
    answers = COMPLETIONS.frame(
        {
            "completion_id": f"{side[0]}{i}",
            "prompt_id": f"q{i}",
            "messages": [{"role": "assistant", "content": row[side]}],
        }
        for i, row in enumerate(whole)
        for side in ("chosen", "rejected")
    )
    prompts = PROMPTS.frame({"prompt_id": f"q{i}", "messages": [{"role": "user", "content": "Which?"}]} for i in names)
    table = PAIR_SCORES.frame(
        {
            "pair_id": f"p{i}",
            "score": row["ratio"],
            "category": row["layout"],
            "details": [
                {"name": "images", "value": float(row["images"])},
                {"name": "pseudo_perplexity", "value": row["perplexity"]},
            ],
        }
        for i, row in enumerate(whole)
    )
    return Pool(pairs, answers, {"looks": table}, prompts=prompts)


def codes(*rows: dict[str, Any], **settings: Any) -> list[str]:
    decisions = assert_promises(AttentionRatioSelector(scores="looks", **settings), pool_of(*rows))
    return decisions["reason"].str.split(":").list.first().to_list()


def test_two_images() -> None:
    """.65 of the attention on the target is kept, .85 is not, and the limit itself is kept."""
    assert codes({"ratio": 0.65}, {"ratio": 0.85}, {"ratio": 0.8}, {"ratio": 0.8 + 1e-12}) == [
        "selected",
        "looked_there",
        "selected",
        "looked_there",
    ]


@pytest.mark.parametrize(("images", "limit"), [(2, 0.8), (3, 0.7), (4, 0.6), (5, 0.6)])
@pytest.mark.parametrize("layout", ["sequence", "grid"])
def test_limits_go_by_the_number_of_images(images: int, limit: float, layout: str) -> None:
    """In a sequence the limit is kept, in a grid what is below it."""
    rows = [{"ratio": limit + step, "images": images, "layout": layout} for step in (-1e-9, 0, 1e-9)]
    assert codes(*rows) == ["selected", "selected" if layout == "sequence" else "looked_there", "looked_there"]


def test_more_images_have_the_last_limit_and_a_picture_its_own() -> None:
    assert codes({"ratio": 0.59, "images": 9, "layout": "grid"}, {"ratio": 0.6, "images": 9, "layout": "grid"}) == [
        "selected",
        "looked_there",
    ]
    picture = {"layout": "picture_in_picture"}
    assert codes({"ratio": 0.79, **picture}, {"ratio": 0.8, **picture}) == ["selected", "looked_there"]
    assert codes({"ratio": 0.79, **picture}, picture_limit=0.5) == ["looked_there"]
    assert codes({"ratio": 0.75}, limits={2: 0.7}) == ["looked_there"]


def test_a_sure_model_and_a_long_truth_are_left_out() -> None:
    """Above 1.1, below 512 characters, both limits left out."""
    assert codes({"perplexity": 1.1}, {"perplexity": 1.1 + 1e-9}) == ["sure", "selected"]
    assert codes({"chosen": "x" * 512}, {"chosen": "x" * 511}) == ["long", "selected"]


def test_pairs_without_a_ratio_are_left_out() -> None:
    none = {"ratio": None, "perplexity": None, "layout": "no_target"}
    decisions = AttentionRatioSelector(scores="looks").select(pool_of(none, {}))
    assert decisions["reason"].to_list()[0] == "no_ratio: no_target"
    assert decisions["selected"].to_list() == [False, True]


def test_post_selection() -> None:
    rows = ({"perplexity": 5.0}, {"chosen": "x" * 40}, {"chosen": "blues"}, {})
    assert codes(*rows) == ["selected"] * 4
    limits = {"most_perplexity": 4.9, "most_length_ratio": 9, "least_edit_distance": 0.3}
    assert codes(*rows, **limits) == ["post_perplexity", "post_length", "post_edit_distance", "selected"]
    # The limits themselves pass: 40 characters are 10 times 4, and one of five characters is a fifth.
    assert codes(*rows, most_perplexity=5, most_length_ratio=10, least_edit_distance=0.2) == ["selected"] * 4


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("abc", "", 3),
        ("same", "same", 0),
        ("flaw", "lawn", 2),
        ("äöü", "aou", 3),
    ],
)
def test_edit_distance(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b) == edit_distance(b, a) == distance


def test_the_lowest_ratio_comes_first() -> None:
    decisions = AttentionRatioSelector(scores="looks").select(pool_of({"ratio": 0.5}, {"ratio": 0.9}, {"ratio": 0.2}))
    assert decisions.sort("rank")["pair_id"].to_list() == ["p2", "p0", "p1"]


def test_what_is_wrong_is_said() -> None:
    pool = pool_of({}, {})
    less = Pool(pool.pairs, pool.completions, {"looks": pool.scores["looks"].head(1)}, prompts=pool.prompts)
    with pytest.raises(ValueError, match=r"1 train pairs have no row in scores 'looks', e\.g\. \['p1'\]"):
        AttentionRatioSelector(scores="looks").select(less)
    other = pool.scores["looks"].with_columns(details=pl.lit([], pool.scores["looks"].schema["details"]))
    with pytest.raises(ValueError, match="say nothing of images; name ones of scorer `attention_ratio`"):
        AttentionRatioSelector(scores="looks").select(
            Pool(pool.pairs, pool.completions, {"looks": other}, prompts=pool.prompts)
        )
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"limits": {2: 0.8, 4: 0.6}}, "none left out"),
        ({"limits": {}}, "none left out"),
        ({"limits": {2: 1.2}}, "lies in"),
        ({"most_perplexity": 1.05}, "nothing is above `sure` 1.1"),
    )
    for settings, message in wrong:
        with pytest.raises(ValueError, match=message):
            AttentionRatioSelector(scores="looks", **settings)
