import hashlib
import re

import numpy as np
import polars as pl
import pytest

from pref_assets.features import ngrams
from pref_assets.features.ngrams import hashed_ngrams, tokens

TEXTS = ["Hello, World! it's ok", "", "  \n", "a", "the the THE the cat. The cat", "x_1 ... (y)=3.14", "one two"]
FOREIGN = ["É²½ ΣΑΣ co\u0301op", "x\x85y \x1c İstanbul 日本語。です٣ ٤ __x--!!", "Straße Σ"]


def naive(text: str, size: int, buckets: int) -> np.ndarray:
    """The definition, one n-gram at a time; ASCII alone."""
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    counts = np.zeros(buckets, dtype=int)
    for n in range(1, size + 1):
        for start in range(len(words) - n + 1):
            ngram = " ".join(words[start : start + n])
            counts[int(hashlib.sha256(ngram.encode()).hexdigest(), 16) % buckets] += 1
    return counts


def counts_of(texts: list[str], size: int, buckets: int) -> np.ndarray:
    found = hashed_ngrams(pl.Series(texts), size, buckets)
    return found.by_group(np.arange(len(texts)), np.ones(len(texts), dtype=np.int64), len(texts))


def words_of(texts: list[str]) -> list[list[str]]:
    found = tokens(pl.Series(texts, dtype=pl.String))
    parts = np.split(found.codes, found.offsets[1:-1])
    return [found.vocabulary.gather(part).to_list() for part in parts]


@pytest.mark.parametrize("at_once", [3, 20, 8_000_000])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("buckets", [2, 97, 10_000])
def test_buckets_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, at_once: int, size: int, buckets: int
) -> None:
    monkeypatch.setattr(ngrams, "_AT_ONCE", at_once)
    expected = np.stack([naive(text, size, buckets) for text in TEXTS])
    assert (counts_of(TEXTS, size, buckets) == expected).all()
    found = hashed_ngrams(pl.Series(TEXTS), size, buckets)
    assert found.ngrams.tolist() == expected.sum(axis=1).tolist()
    assert found.tokens.tolist() == [8, 0, 0, 1, 8, 8, 2]
    times = np.arange(len(TEXTS))
    assert (found.totals(times) == times @ expected).all()
    values = np.random.default_rng(0).normal(size=buckets)
    np.testing.assert_allclose(found.sums(values), expected @ values, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_buckets_are_those_of_data_selection(size: int) -> None:
    package = pytest.importorskip("data_selection.hashed_ngram_dsir", reason="data-selection is not installed")
    texts = TEXTS + FOREIGN
    expected = np.stack([package.get_ngram_counts(text, n=size, num_buckets=997) for text in texts])
    assert (counts_of(texts, size, 997) == expected).all()


def test_tokens_are_those_of_nltk() -> None:
    tokenize = pytest.importorskip("nltk.tokenize", reason="NLTK is not installed")
    cut = tokenize.WordPunctTokenizer().tokenize
    texts = TEXTS + FOREIGN
    assert words_of(texts) == [cut(text.lower()) for text in texts]


def test_tokens_by_hand() -> None:
    assert words_of(["It's 3.5%, OK?!", ""]) == [["it", "'", "s", "3", ".", "5", "%,", "ok", "?!"], []]
    assert words_of([]) == [[]]


def test_codes_do_not_depend_on_the_order_of_texts() -> None:
    forward, backward = tokens(pl.Series(TEXTS)), tokens(pl.Series(TEXTS[::-1]))
    assert forward.vocabulary.to_list() == backward.vocabulary.to_list() == sorted(forward.vocabulary.to_list())


def test_no_texts_have_no_ngrams() -> None:
    found = hashed_ngrams(pl.Series([], dtype=pl.String), 2, 11)
    assert found.totals(np.zeros(0, dtype=np.int64)).tolist() == [0] * 11
    assert found.sums(np.ones(11)).tolist() == []
