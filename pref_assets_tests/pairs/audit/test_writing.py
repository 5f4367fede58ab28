"""Lengths, formats, refusals and characters."""

import pytest

from pref_assets.pairs.audit.characters import NonText
from pref_assets.pairs.audit.formats import FormatGap
from pref_assets.pairs.audit.lengths import LengthGap, OverLong
from pref_assets.pairs.audit.refusals import Refusal
from pref_assets_tests.pairs.audit.build import details


def test_over_long_counts_prompt_and_longer_answer():
    found = details(OverLong(max_characters=9), ("qqqq", "a", "bbbbb"), ("qqqq", "aaaaaé", "b"), ("qq", "a", "b"))
    assert found == {2: "prompt and longer answer have 10 characters, above 9"}


def test_length_gap_is_a_ratio_and_a_number_of_characters():
    rule = LengthGap(ratio=3, min_characters=5)
    found = details(rule, ("q", "aaa", "b" * 9), ("q", "aaa", "b" * 8), ("q", "a", "bbbbb"), ("q", "a" * 5, ""))
    assert found == {
        1: "the chosen answer has 3 characters, the rejected one 9",
        4: "the chosen answer has 5 characters, the rejected one 0",
    }


MARKED = "# Title\n\n- one\n- two\n"


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        (MARKED, 3),
        ("1. a\n2) b\n  * c", 3),
        ("|a|b|\n|-|-|\n```py\nx\n```", 4),
        ("**a** and **b**, 3 - 2, a|b, #tag", 2),
        ("2024. A year\n-5 degrees\nplain", 0),
    ],
)
def test_marks_of_markdown(text, marks):
    found = details(FormatGap(min_elements=1), ("q", text, "plain"))
    says = f"the chosen answer has {marks} marks of Markdown, the rejected one 0"
    assert found == ({1: says} if marks else {})


def test_a_format_gap_needs_a_plain_side():
    found = details(FormatGap(), ("q", "plain", MARKED), ("q", "- one", MARKED), ("q", "plain", "- one\n- two"))
    assert found == {1: "the chosen answer has 0 marks of Markdown, the rejected one 3"}


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, I cannot assist with this request.", True),
        ("Sorry, but as an AI language model, I am unable to browse.", True),
        ("I won't provide instructions for that.", True),
        ("I must decline.", True),
        ("I am not able to answer this.", True),
        ("I'm sorry to hear that! Here is what helps.", False),
        ("You can't help but like it.", False),
        ("Sure. " + "x" * 200 + " I can't help with that.", False),
    ],
)
def test_refusals(answer, refuses):
    assert details(Refusal(), ("q", answer, "fine")) == ({1: "the chosen answer is a refusal"} if refuses else {})


def test_both_may_refuse():
    found = details(Refusal(phrases=("no way",)), ("q", "No way", "NO WAY!"), ("q", "yes", "no way"))
    assert found == {1: "both answers are a refusal", 2: "the rejected answer is a refusal"}


def test_text_that_is_no_text():
    found = details(
        NonText(max_run=20),
        ("q", "a\x00b\x1b", "fine\r\n\tthen\x0c"),
        ("caf\ufffd", "a", "b"),
        ("q", "QUJD" * 6 + "==", "b"),
        ("q", "QUJD" * 5, "b"),
        ("q", "...!?", " - "),
        ("q", "", "日本語"),
        ("q", "👍", "$"),
        ("q", "a", "\ue000"),
        ("...", "a", "b", {"other_prompt": "!"}),
    )
    assert found == {
        1: "the chosen answer has 2 characters that are no text, the first U+0000 at character 2",
        2: "the prompt has 1 characters that are no text, the first U+FFFD at character 4",
        3: "the chosen answer has 26 characters without a break from character 1 on",
        5: "the chosen answer has no letter, digit or symbol; the rejected answer has no letter, digit or symbol",
        8: "the rejected answer has 1 characters that are no text, the first U+E000 at character 1",
    }
