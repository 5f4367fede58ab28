import pytest

from pref_assets.pairs.audit.answers import EmptyAnswer, EqualUpToSpaceOrCase, IdenticalSides, PromptOnlyAnswer
from pref_assets.pairs.schema import COMPARISONS, COMPLETIONS
from pref_assets_tests.pairs.audit.build import audit, details, tables

SAME = "the answers differ in white space or case only"


def test_sides_are_identical_by_id_or_by_turns():
    made = tables(("q", "a", "b"), ("q", "a", "c"))
    first, second = (row["rejected_id"] for row in made.comparisons.sort("provenance").to_dicts())
    turns = {first: [{"role": "assistant", "content": "a"}], second: [{"role": "assistant", "content": "c"}]}
    completions = [
        {**row, "messages": turns.get(row["completion_id"], row["messages"])} for row in made.completions.to_dicts()
    ]
    found = audit(made._replace(completions=COMPLETIONS.frame(completions)), IdenticalSides())
    assert found.rows() == [("1", "identical_sides", "error", "the two answers are the same")]

    rows = made.comparisons.to_dicts()
    same = made._replace(comparisons=COMPARISONS.frame([{**rows[0], "rejected_id": rows[0]["chosen_id"]}, rows[1]]))
    assert audit(same, IdenticalSides())["pair_id"].to_list() == [same.names[rows[0]["pair_id"]]]


def test_equal_answers_to_different_prompts_are_a_comparison():
    assert details(IdenticalSides(), ("q", "a", "a", {"other_prompt": "r"})) == {}
    assert details(EqualUpToSpaceOrCase(), ("q", "a", "A", {"other_prompt": "r"})) == {}


@pytest.mark.parametrize(
    ("chosen", "rejected", "equal"),
    [
        ("Yes, it is.", "yes,  it\nis. ", True),
        ("foo(a, b)", "foo(a,b)", True),
        ("\u00a0straße", "STRASSE", False),
        ("İstanbul", "i̇stanbul", True),
        ("ΟΔΟΣ", "οδος", True),
        # Beyond the first 256 characters, and after a run of blanks longer than they are.
        ("x" * 300 + "A", "x" * 300 + "a", True),
        ("x" * 300 + "A", "x" * 300 + "b", False),
        ("x" + " " * 400 + "y", "xy", True),
        ("x" + " " * 400 + "y", "xz", False),
        ("yes", "yes!", False),
        ("", "  ", True),
    ],
)
def test_answers_that_differ_in_space_or_case_only(chosen, rejected, equal):
    for pair in ((chosen, rejected), (rejected, chosen)):
        assert details(EqualUpToSpaceOrCase(), ("q", *pair)) == ({1: SAME} if equal else {})


def test_empty_answers():
    found = details(
        EmptyAnswer(),
        ("q", "", "b"),
        ("q", "a", " \n\t"),
        ("q", " ", "\u200b \ufeff"),
        ("q", "a", "."),
        ("q", "a", [("assistant+json", '{"tool_calls":[{"name":"f"}]}')]),
        ("q", "a", [("assistant+json", '{"content":[{"type":"text","text":" "}]}')]),
        ("q", "a", [("assistant+json", '{"content":[{"type":"image"}]}')]),
    )
    assert found == {
        1: "the chosen answer is empty",
        2: "the rejected answer is empty",
        3: "both answers are empty",
        6: "the rejected answer is empty",
    }


def test_answers_that_repeat_the_prompt():
    talk = [("user", "Hi"), ("assistant", "Hello!"), ("user", "What is  two and two?")]
    found = details(
        PromptOnlyAnswer(),
        ("Say it", "say  it\n", "fine"),
        ("Say it", "fine", "Say it: fine"),
        (talk, "Four", "what is two and two?"),
        (talk, "Hi\nHello!\nWhat is two and two?", "WHAT IS TWO AND TWO?"),
        ("", "a", " "),
    )
    assert found == {
        1: "the chosen answer is the prompt again and nothing else",
        3: "the rejected answer is the prompt again and nothing else",
        4: "both answers are the prompt again and nothing else",
    }
