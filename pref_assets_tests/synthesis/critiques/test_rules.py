"""Each rule on an expansion that breaks it, and on its neighbour that does not."""

import pytest

from pref_assets.synthesis.critiques.rules import ANSWERING, GUESSING, REFUSALS, Said, cleaned, fault

REASONS = ("Counts the red dots right.", "Too long.")
GOOD = "The answer counts the red dots correctly and is right about them. It is, however, too wordy."


def check(critique: str, cut: bool = False, reasons: tuple[str, ...] = REASONS, **rules: object) -> str | None:
    said = Said(critique, cut, "How many red dots are there?", "There are 3 red dots.", reasons)
    given = {"most_words": 40, "kept_words": 0.5, "refusals": REFUSALS, "answering": ANSWERING, "guessing": GUESSING}
    return fault(said, **{**given, **rules})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("critique", "found"),
    [
        (GOOD, None),
        (" \n", "empty"),
        ("I\u2019m sorry, but I cannot judge red dots that count right.", "refused"),
        ('"As an AI, I count red dots right."', "refused"),
        (f'It says nothing like "I cannot". {GOOD}', None),
        (GOOD * 4, "too_long"),
        (f"{GOOD} The correct answer is 3.", "answers"),
        ("There are 3 red dots. It counts them right.", "answers"),
        ("A short and friendly reply.", "drops"),
        ("Counts right: red dots.", None),
        (f"{GOOD} It names 3 of them.", None),
        (f"{GOOD} It misses 4 of them.", "adds"),
        (f"1. {GOOD}\n2. It is wordy.", None),
        (f"{GOOD} It is probably written in haste.", "guesses"),
    ],
)
def test_the_first_rule_that_is_broken(critique: str, found: str | None) -> None:
    assert check(critique) == found


def test_what_the_reasons_say_may_be_said() -> None:
    reasons = ("Perhaps wrong: the correct answer is 4.",)
    assert check("The answer is perhaps wrong, as the correct answer is 4.", reasons=reasons) is None


def test_an_answer_that_was_cut_off_is_too_long() -> None:
    assert check(GOOD, cut=True) == "too_long"


def test_half_of_a_reasons_words_is_the_default_share() -> None:
    reasons = ("red dots counted right",)
    assert check("The red dots are there.", reasons=reasons) is None
    assert check("Something red is there.", reasons=reasons) == "drops"
    assert check("Something red is there.", reasons=reasons, kept_words=0.25) is None


def test_thoughts_are_no_critique() -> None:
    assert cleaned("<think>let me see</think>\n It is right. ") == "It is right."
