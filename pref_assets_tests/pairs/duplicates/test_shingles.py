import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.pairs.duplicates.shingles import Shingles, jaccard, shingles
from pref_assets.pairs.duplicates.words import words
from pref_assets.pairs.schema import MESSAGES

SIZE = 3
TURNS = st.lists(st.lists(st.sampled_from("abcd"), max_size=7), max_size=3)


def conversations(*turns: list[str]) -> pl.Series:
    return pl.Series([[{"role": "user", "content": text} for text in each] for each in turns], dtype=MESSAGES)


def by_hand(turns: list[list[str]]) -> set[tuple[str, ...]]:
    """Shingles of three words; a shorter turn is one."""
    found = set()
    for turn in turns:
        found |= {tuple(turn[at : at + SIZE]) for at in range(max(1, len(turn) - SIZE + 1))}
    return found


def similarity(one: list[str], other: list[str], size: int = SIZE) -> float:
    sets = shingles(conversations(one, other), size).sets()
    return float(jaccard(sets, np.array([0]), np.array([1]))[0])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (["a b c d e"], ["a b c d f"], 2 / 4),  # abc bcd cde | abc bcd cdf
        (["a b c d e"], ["A, b c; D e!"], 1.0),
        (["a b c a b c"], ["a b c a b"], 1.0),  # abc bca cab abc | abc bca cab
        (["yes"], ["no"], 0.0),
        (["a b"], ["a b c"], 0.0),
        (["a b c", "d e f"], ["a b c d e f"], 2 / 4),  # abc def | abc bcd cde def
        (["a b c", "yes"], ["a b c"], 1 / 2),
        ([], [], 1.0),
        ([], [""], 0.0),
        (["👍"], ["👎"], 0.0),
    ],
)
def test_similarity_by_hand(one: list[str], other: list[str], expected: float) -> None:
    assert similarity(one, other) == pytest.approx(expected)
    assert similarity(other, one) == pytest.approx(expected)


@given(st.lists(TURNS, min_size=2, max_size=8), st.integers(0, 2**32 - 1))
def test_similarity_equals_that_of_sets_of_words(items: list[list[list[str]]], seed: int) -> None:
    sets = shingles(conversations(*[[" ".join(turn) for turn in item] for item in items]), SIZE).sets()
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, len(items), (2, 20))
    expected = []
    for one, other in zip(left, right, strict=True):
        a, b = by_hand(items[one]), by_hand(items[other])
        expected.append(len(a & b) / len(a | b) if a | b else 1.0)
    assert jaccard(sets, left, right).tolist() == pytest.approx(expected)


@given(st.lists(st.text("ab 👍é", max_size=12), min_size=1, max_size=6), st.integers(1, 6))
def test_there_is_a_shingle_for_every_window_and_one_for_short_texts(texts: list[str], size: int) -> None:
    found = shingles(conversations(*[[text] for text in texts]), size)
    lengths = np.diff(words(pl.Series(texts)).offsets)
    assert found.counts.tolist() == np.maximum(lengths - size + 1, 1).tolist()


def test_many_items_are_compared_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    items = Shingles(rng.integers(0, 50, 700, dtype=np.uint64) << np.uint64(30), np.arange(0, 701, 7))
    left, right = rng.integers(0, 100, (2, 500))
    whole = jaccard(items.sets(), left, right)
    monkeypatch.setattr("pref_assets.pairs.duplicates.shingles._ITEMS", 9)
    assert jaccard(items.sets(), left, right).tolist() == whole.tolist()
    assert 0 < whole.mean() < 0.5
