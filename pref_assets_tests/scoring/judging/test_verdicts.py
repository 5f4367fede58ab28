"""What words mean."""

import pytest

from pref_assets.scoring.judging.verdicts import verdict, verdicts_by_number


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("B forgets the date. [[A]]", "A"),
        ("[[ b ]]", "B"),
        ("They are alike.\n[[C]]", "tie"),
        ("[[tie]]", "tie"),
        ("[[U]]", "tie"),
        ("[[A]] … so [[A]]", "A"),
        ("<think>[[A]]? no</think>\n[[B]]", "B"),
        ("It is close.\nVerdict: A", "A"),
        ("**Verdict:** B.", "B"),
        ("My final verdict is: answer B.", "B"),
        ("Answer A", "A"),
        (" **B** \n", "B"),
        ("tie", "tie"),
        # No verdict, or more than one.
        ("", None),
        ("[[A]], [[B]] or [[C]]", None),
        ("Verdict: A\nVerdict: B", None),
        ("A is a fine letter", None),
        ("Both are good answers to the request.", None),
        ("[[D]]", None),
        ("[A]", "A"),
        ("A: Yes\nB: No", None),
    ],
)
def test_verdicts(answer: str, meant: str | None) -> None:
    assert verdict(answer) == meant


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("1: A\n2: B\n3: neither", ["A", "B", "tie"]),
        ("1. A\n2) b\n3 - both", ["A", "B", "tie"]),
        ('{"1": "A", "2": "B", "3": "none"}', ["A", "B", "tie"]),
        ("1: [[A]]\n2: **B**.\n3: A", ["A", "B", "A"]),
        ("3: A\n1: B", ["B", None, "A"]),
        ("1: A\n1: B\n2: A\n2: A", [None, "A", None]),
        ("1: A longer answer\n2: it depends\n9: A", [None, None, None]),
        ("I favour A.", [None, None, None]),
        ("<think>1: A</think>1: B", ["B", None, None]),
    ],
)
def test_verdicts_on_numbered_questions(answer: str, meant: list[str | None]) -> None:
    assert verdicts_by_number(answer, 3) == meant
