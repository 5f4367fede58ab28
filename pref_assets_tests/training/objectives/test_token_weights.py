"""Which tokens set two completions apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.models.loading import load_tokenizer
from pref_assets.models.tiny import TOKENIZER
from pref_assets.training.objectives.token_weights import after_divergence, edited, shared_start

ids = st.lists(st.integers(0, 4), max_size=12)


def test_the_card_s_edit():
    # a b c d -> a x c d e: b goes for x, e is added.
    rejected, chosen = edited([1, 2, 3, 4], [1, 9, 3, 4, 5])
    assert rejected == [False, True, False, False]
    assert chosen == [False, True, False, False, True]


@given(ids, ids)
def test_what_is_not_marked_is_the_same_text(one, other):
    marks = edited(one, other)
    kept = [
        [token for token, mark in zip(*each, strict=True) if not mark] for each in ((one, marks[0]), (other, marks[1]))
    ]
    assert kept[0] == kept[1]
    assert (one == other) == (not any(marks[0] + marks[1]))


@given(ids, ids)
def test_an_edit_is_the_same_there_and_back(one, other):
    assert edited(one, other) == edited(other, one)[::-1]


@given(ids, ids)
def test_after_the_first_difference_all_counts(one, other):
    start = shared_start(one, other)
    assert one[:start] == other[:start]
    assert one[start : start + 1] != other[start : start + 1] or one == other
    assert after_divergence(one, other) == (
        [i >= start for i in range(len(one))],
        [i >= start for i in range(len(other))],
    )


@pytest.mark.parametrize(
    ("one", "other", "gone", "new"),
    [
        ("The capital of Australia is Sydney.", "The capital of Australia is Canberra.", " Sydney", " Canberra"),
        ("I like it, naïvely.", "I like it a lot, naïvely.", "", " a lot"),
    ],
)
def test_marks_of_subwords_spell_the_change(one, other, gone, new):
    tokenizer = load_tokenizer(TOKENIZER)
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (one, other)]
    spelled = [
        tokenizer.decode([token for token, mark in zip(each, marks, strict=True) if mark])
        for each, marks in zip(tokens, edited(*tokens), strict=True)
    ]
    assert spelled == [gone, new]
