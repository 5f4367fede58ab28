"""Every family by hand: what holds, what does not, and the edges of each rule."""

import pytest

from pref_assets.synthesis.verifiable.verifier import constraint, constraints_of, share_met, verify

CASES = {
    "max_words": (
        {"n": 3},
        ["One two three", "Well-known don't", "Yes.", "3.5 x"],
        ["One two three four", "a, b, c, d"],
    ),
    "min_words": ({"n": 3}, ["One two three", "1 2 3 4"], ["One two", "- - - !", "a-b-c d"]),
    "sentences": (
        {"n": 2},
        ["I ran. You sat.", "Really?! Yes", 'He said "no." Then left.', "At 2.5 km he sat. Then ran."],
        ["One.", "A. B. C.", "I ran, you sat"],
    ),
    "include": ({"word": "love"}, ["I Love it", "love."], ["lovely", "I like it", "glove love-bird"]),
    "exclude": ({"word": "the"}, ["then there", "a cat"], ["The cat", "over the hill"]),
    "no_commas": ({}, ["a b"], ["a, b", "1,000"]),
    "letter_case": ({"case": "lower"}, ["a cat, 2 dogs!"], ["A cat", "123"]),
    "start": ({"phrase": "Well"}, ["Well, yes", "**well** then", '"Well'], ["Wellness", "Oh well", "All is well"]),
    "end_mark": ({"mark": "?"}, ["Why?", '"Why?"', "**Why?**"], ["Why", "Why? Yes.", "Why?!"]),
    "one_line": ({}, ["a b", "\na\n"], ["a\nb", "a\n\nb"]),
    "bullets": (
        {"n": 2},
        ["- a\n- b", "Here:\n* a\n  • b"],
        ["- a", "-a\n-b", "- a\n- b\n- c", "1. a\n2. b", "- a - b"],
    ),
    "numbered": (
        {"n": 2},
        ["1. a\n2. b", "Sure:\n1) a\n2) b\nDone"],
        ["1. a", "1. a\n2. b\n3. c", "2. a\n1. b", "1. a 2. b", "1.a\n2.b"],
    ),
    "comma_list": (
        {"n": 3},
        ["a, b, c", "red, dark blue, green."],
        ["a, b", "a, b, c, d", "a,, c", "a, b,\nc", "a, b, c d e f"],
    ),
    "json": (
        {"keys": ["name", "age"]},
        ['{"name": "x", "age": 3}', '```json\n{"age": 1, "name": null}\n```', '```\n{"age": 1, "name": 2}\n```'],
        ['{"name": 1}', '{"name": 1, "age": 2, "x": 3}', '["name", "age"]', 'Sure: {"name": 1, "age": 2}', "{name: 1}"],
    ),
    "quoted": ({}, ['"hello"', "“hello”"], ["hello", '"hello" he said', "'hello'", '""']),
    "digits": ({}, ["7 cats", "a1"], ["seven cats"]),
    "arithmetic": (
        {"a": 4, "b": 5, "operation": "times"},
        ["20", "4 times 5 is 20.", "4 * 5 = 20", "The result is 20!"],
        ["9", "20 is 4 times 5", "twenty", "20.5", "200", "1,020"],
    ),
    "count": (
        {"items": ["a", "b", "c"]},
        ["3", "Three words.", "There are 3, not 4"],
        ["4", "a, b, c", "one, two, three"],
    ),
    "largest": ({"numbers": [3, 27, 9]}, ["27", "Of 3, 27 and 9 it is 27."], ["27, 9", "It is 3", "the second"]),
    "sort": (
        {"items": ["pear", "fig"]},
        ["fig, pear", "1. Fig\n2. Pear", "pear, fig: fig, pear"],
        ["pear, fig", "fig", "fig, fig", "fig pear fig"],
    ),
    "choice": (
        {"question": "Is it?", "options": ["yes", "no"], "right": "no"},
        ["no", "No.", '"NO!"'],
        ["yes", "no no", "No, it is not", "nope"],
    ),
    "repeat": (
        {"phrase": "My hat is red."},
        ["My hat is red.", '"My hat is red."', "My  hat\nis red."],
        ["My hat is red", "my hat is red.", "My hat is red. Yes", '"My hat is red".'],
    ),
}


@pytest.mark.parametrize("family", CASES)
def test_family(family):
    parameters, good, bad = CASES[family]
    value = {"family": family, **parameters}
    assert [text for text in good if not verify(value, text)] == []
    assert [text for text in bad if verify(value, text)] == []
    assert constraint(value).instruction()
    assert constraint(value).model_dump(mode="json") == value


@pytest.mark.parametrize("family", CASES)
def test_an_answer_without_text_meets_nothing(family):
    for text in ("", " ", "\n\t "):
        assert not verify({"family": family, **CASES[family][0]}, text)


def test_every_family_has_cases():
    from pref_assets.synthesis.verifiable.prompts import FORMS, QUESTIONS

    assert set(CASES) == {*FORMS, *QUESTIONS}


def test_other_settings_of_a_family():
    assert verify({"family": "letter_case", "case": "upper"}, "A CAT!")
    assert not verify({"family": "letter_case", "case": "upper"}, "A cat")
    assert verify({"family": "end_mark", "mark": "!"}, "Go!")
    assert verify({"family": "arithmetic", "a": 2, "b": 5, "operation": "minus"}, "It is -3")
    assert verify({"family": "arithmetic", "a": 5, "b": 5}, "Ten")


def test_instructions_read_as_english():
    said = {
        "End with an exclamation mark.": {"family": "end_mark", "mark": "!"},
        "End with a question mark.": {"family": "end_mark", "mark": "?"},
        "Write exactly one sentence.": {"family": "sentences", "n": 1},
        "Write exactly two sentences.": {"family": "sentences", "n": 2},
        'Answer only with JSON: {"name": ..., "age": ...}': {"family": "json", "keys": ["name", "age"]},
        "Is it? Answer only with yes or no.": CASES["choice"][0] | {"family": "choice"},
    }
    assert {constraint(value).instruction(): value for value in said.values()} == said


def test_share_met():
    both = [{"family": "max_words", "n": 2}, {"family": "include", "word": "love"}]
    assert [share_met(both, text) for text in ("love it", "love it so", "so it is", "")] == [1.0, 0.5, 0.0, 0.0]
    with pytest.raises(ValueError, match="without constraints"):
        share_met([], "x")


def test_unknown_families_and_settings_are_refused():
    with pytest.raises(ValueError, match="rhyme"):
        verify({"family": "rhyme"}, "x")
    with pytest.raises(ValueError, match="extra"):
        verify({"family": "max_words", "n": 2, "extra": 1}, "x")


def test_constraints_are_read_from_prompt_metadata():
    assert constraints_of('{"constraints": [{"family": "one_line"}], "topic": "cats"}') == [{"family": "one_line"}]
    assert constraints_of('{"topic": "cats"}') == constraints_of(None) == constraints_of("[]") == []
