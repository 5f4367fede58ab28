import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.duplicates.words import Words, words


def said(text: str) -> list[str]:
    found = words(pl.Series([text]))
    return [found.text(at, at + 1) for at in range(len(found.hashes))]


def of(found: Words, text: int) -> list[int]:
    return found.hashes[found.offsets[text] : found.offsets[text + 1]].tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't STOP, x_1!", ["don", "t", "stop", "x", "1"]),
        ("“Déjà vu” — ÉTÉ", ["déjà", "vu", "été"]),
        ("我 是 cat猫", ["我", "是", "cat", "猫"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("\x00a\tb\r\nc", ["a", "b", "c"]),
        ("ß" * 300, ["ß" * 300]),
    ],
)
def test_words_of_a_text(text: str, expected: list[str]) -> None:
    assert said(text) == expected


def test_case_and_punctuation_do_not_matter_and_letters_do() -> None:
    found = words(pl.Series(["Hello, World", "hello world!!", "hello word", "héllo world"]))
    assert of(found, 0) == of(found, 1)
    assert of(found, 0)[1] != of(found, 2)[1]
    assert of(found, 0)[0] != of(found, 3)[0]


def test_a_text_without_words_is_one_word_itself() -> None:
    found = words(pl.Series(["👍", " 👍 ", "a", "👎", "", None, "a"]))
    assert found.offsets.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    hashes = found.hashes.tolist()
    assert hashes[0] == hashes[1]
    assert hashes[2] == hashes[6]
    assert hashes[4] == hashes[5]
    assert len(set(hashes)) == 4


def test_every_byte_of_a_long_word_counts() -> None:
    texts = ["x" * n for n in range(1, 600)] + ["x" * n + "y" + "x" * (299 - n) for n in range(300)]
    found = words(pl.Series(texts))
    assert len(set(found.hashes.tolist())) == len(texts)


def test_hashes_are_the_same_for_ever() -> None:
    """The store keeps them: a change here needs another ALGORITHM."""
    hashes = words(pl.Series(["a", "extraordinarily", "é", "👍", "z" * 300])).hashes.tolist()
    assert hashes == [
        2091990327900115538,
        2248680445264162010,
        5087600638444195725,
        4426778189261467833,
        10561511231441520624,
    ]


@given(st.lists(st.text(max_size=30), max_size=8))
def test_a_text_has_the_same_words_alone_and_among_others(texts: list[str]) -> None:
    found = words(pl.Series(texts, dtype=pl.String))
    assert len(found.offsets) == len(texts) + 1
    for place, text in enumerate(texts):
        assert of(found, place) == words(pl.Series([text])).hashes.tolist()
