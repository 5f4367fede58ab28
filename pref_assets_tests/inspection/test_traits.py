"""Traits: one answer for each, and one that looks like it and is not."""

import polars as pl
import pytest

from pref_assets.inspection.traits import REFUSAL, Traits
from pref_assets.pairs.schema import PAIR_TEXTS


def looked_at(chosen: str, rejected: str) -> dict[str, object]:
    turn = [{"role": "assistant", "content": chosen}], [{"role": "assistant", "content": rejected}]
    row = {"pair_id": "p", "prompt_id": "q", "chosen_id": "c", "rejected_id": "r", "prompt": None}
    frame = pl.DataFrame([{**row, "chosen": turn[0], "rejected": turn[1]}], schema=PAIR_TEXTS)
    return Traits().look(frame).row(0, named=True)


@pytest.mark.parametrize(
    ("trait", "has", "has_not"),
    [
        ("list", "Two:\n- one\n- two", "one - two"),
        ("list", "1. one", "In 1.5 hours"),
        ("heading", "# Title", "C# is a language"),
        ("bold", "**so**", "2 ** 3"),
        ("code block", "See\n```\nx\n```", "`x`"),
        ("table", "| a | b |", "a | b"),
        ("link", "https://example.org", "example.org"),
        ("question", "Why?", "Why."),
        ("exclamation", "Yes!", "Yes."),
        ("number", "7 days", "seven days"),
        ("apology opening", "I'm so sorry, no.", "He was sorry."),
        ("praise opening", "That's a great question.", "A great city."),
        (REFUSAL, "I can't help with that.", "I can't swim."),
    ],
)
def test_a_trait_is_seen_where_it_is_and_nowhere_else(trait: str, has: str, has_not: str) -> None:
    seen = looked_at(has, has_not)
    assert (seen[f"{trait}_chosen"], seen[f"{trait}_rejected"]) == (True, False)


def test_words_and_characters_are_counted() -> None:
    seen = looked_at("one two\n three", "")
    assert (seen["words_chosen"], seen["characters_chosen"]) == (3, 14)
    assert (seen["words_rejected"], seen["characters_rejected"]) == (0, 0)
