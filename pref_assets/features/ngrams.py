"""Tokens and hashed n-grams of many texts, each distinct n-gram hashed once."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

_TOKEN = r"\w+|[^\w\s]+"
_AT_ONCE = 8_000_000
"""Characters or n-grams worked on at once, which bounds memory."""
_LIMB = 32
_BYTES = 4


@dataclass(frozen=True)
class Tokens:
    """Tokens of n texts: text ``i`` has ``codes[offsets[i]:offsets[i + 1]]``, and code ``c`` reads ``vocabulary[c]``;
    the vocabulary is sorted, so that codes do not depend on the order of the texts."""

    codes: NDArray[np.int32]
    offsets: Ints
    vocabulary: pl.Series

    @property
    def counts(self) -> Ints:
        """(n,) tokens of each text."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class HashedNgrams:
    """Buckets of the n-grams of texts: of size ``i + 1`` in ``buckets[i]``, text after text, from ``offsets[i]`` on."""

    size: int
    buckets: list[NDArray[np.uint32]]
    offsets: list[Ints]

    @property
    def tokens(self) -> Ints:
        """(n,) tokens of each text."""
        return np.diff(self.offsets[0])

    @property
    def ngrams(self) -> Ints:
        """(n,) n-grams of each text, all sizes together."""
        return np.sum([np.diff(each) for each in self.offsets], axis=0, dtype=np.int64)

    def totals(self, times: Ints) -> Ints:
        """(size,) n-grams in each bucket when text ``i`` is counted ``times[i]`` times."""
        found = np.zeros(self.size)
        for buckets, owner in self._parts():
            found += np.bincount(buckets, weights=times[owner], minlength=self.size)
        return found.astype(np.int64)

    def sums(self, values: Floats) -> Floats:
        """(n,) for each text the sum of ``values`` (size,) over its n-grams, in the order of the text."""
        found = np.zeros(len(self.tokens))
        for buckets, owner in self._parts():
            first = int(owner[0])
            added = np.bincount(owner - first, weights=values[buckets])
            found[first : first + len(added)] += added
        return found

    def by_group(self, groups: Ints, times: Ints, count: int) -> Ints:
        """(count, size) n-grams in each bucket over the texts of each group, text ``i`` counted ``times[i]`` times."""
        found = np.zeros(count * self.size)
        for buckets, owner in self._parts():
            found += np.bincount(groups[owner] * self.size + buckets, weights=times[owner], minlength=len(found))
        return found.astype(np.int64).reshape(count, self.size)

    def _parts(self) -> Iterator[tuple[NDArray[np.uint32], Ints]]:
        """Buckets and the text of each, a bounded number of whole texts at a time."""
        for buckets, offsets in zip(self.buckets, self.offsets, strict=True):
            for first, last in spans(offsets):
                if offsets[last] > offsets[first]:
                    owner = np.repeat(np.arange(first, last), np.diff(offsets[first : last + 1]))
                    yield buckets[offsets[first] : offsets[last]], owner


def tokens(texts: pl.Series) -> Tokens:
    """Tokens of each text in lower case, as NLTK's ``WordPunctTokenizer`` cuts them: runs of word characters, and runs
    of what is neither word nor white space. Time O(characters).

    Word characters and white space are Unicode's (UTS #18), as in NLTK since 3.10; before it took Python's, which cut
    words at combining marks.
    """
    kind = pl.Categorical(pl.Categories.random())
    parts = [_cut(part).cast(pl.List(kind)) for part in _slices(texts)]
    counts = np.concatenate([np.empty(0, np.int64), *(part.list.len().to_numpy() for part in parts)])
    flat = [part.explode(empty_as_null=False) for part in parts]
    words = pl.concat([pl.Series([], dtype=kind), *(part.unique() for part in flat)]).unique()
    order = np.argsort(words.cast(pl.String).to_numpy())
    rank = np.empty(len(words), dtype=np.int32)
    rank[words.to_physical().to_numpy()[order]] = np.arange(len(words))
    codes = [rank[part.to_physical().to_numpy()] for part in flat]
    vocabulary = words.gather(order).cast(pl.String)
    return Tokens(np.concatenate([np.empty(0, np.int32), *codes]), _offsets(counts), vocabulary)


def hashed_ngrams(texts: pl.Series, size: int = 2, buckets: int = 10_000) -> HashedNgrams:
    """Buckets of all n-grams of 1 to ``size`` tokens: the SHA-256 of the n-gram, its tokens joined by single spaces, as
    a number modulo ``buckets``. These are the features of DSIR's code (PyPI ``data-selection`` 1.0.3).

    Time O(characters + distinct n-grams · log), memory 4 bytes an n-gram and 12 bytes a distinct one.
    """
    found = tokens(texts)
    words = _buckets_of(found.vocabulary, buckets)
    levels, offsets = [words[found.codes]], [found.offsets]
    known = [_Known(last=n == size) for n in range(2, size + 1)]
    parts: list[list[NDArray[np.uint32]]] = [[] for _ in known]
    for first, last in spans(found.offsets):
        codes = found.codes[found.offsets[first] : found.offsets[last]]
        counts = found.counts[first:last]
        shorter: NDArray[Any] = codes
        names = found.vocabulary
        for level, part in zip(known, parts, strict=True):
            starts, ends = _neighbours(counts)
            counts = np.maximum(counts - 1, 0)
            codes = codes[ends]
            shorter, hashed = level.look_up(shorter[starts], codes, names, found.vocabulary, buckets)
            names = level.names
            part.append(hashed)
    for n, part in enumerate(parts, 2):
        levels.append(np.concatenate([np.empty(0, np.uint32), *part]))
        offsets.append(_offsets(np.maximum(found.counts - n + 1, 0)))
    return HashedNgrams(buckets, levels, offsets)


@dataclass
class _Known:
    """N-grams of one size met so far: sorted ``keys``, what they are numbered and where they hash. Only n-grams that
    longer ones extend (not ``last``) keep their names."""

    last: bool
    keys: Keys = field(default_factory=lambda: np.empty(0, np.uint64))
    numbers: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    buckets: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    names: pl.Series = field(default_factory=lambda: pl.Series([], dtype=pl.String))

    def look_up(
        self, shorter: NDArray[Any], codes: NDArray[np.int32], names: pl.Series, vocabulary: pl.Series, buckets: int
    ) -> tuple[Ints, NDArray[np.uint32]]:
        """Number and bucket of each n-gram, given as a shorter one and the token after it."""
        keys = shorter.astype(np.uint64) << np.uint64(_LIMB) | codes.astype(np.uint64)
        distinct: Keys
        which: Ints
        distinct, which = np.unique(keys, return_inverse=True)
        place = np.searchsorted(self.keys, distinct)
        held = np.zeros(len(distinct), dtype=bool)
        inside = place < len(self.keys)
        held[inside] = self.keys[place[inside]] == distinct[inside]
        self._add(distinct[~held], names, vocabulary, buckets)
        place = np.searchsorted(self.keys, distinct)
        return self.numbers[place][which], self.buckets[place][which]

    def _add(self, keys: Keys, names: pl.Series, vocabulary: pl.Series, buckets: int) -> None:
        left = names.gather((keys >> np.uint64(_LIMB)).astype(np.int64))
        right = vocabulary.gather((keys & np.uint64((1 << _LIMB) - 1)).astype(np.int64))
        fresh = left + " " + right
        numbers = np.arange(len(self.keys), len(self.keys) + len(keys))
        place = np.searchsorted(self.keys, keys)
        self.keys = np.insert(self.keys, place, keys)
        self.numbers = np.insert(self.numbers, place, numbers)
        self.buckets = np.insert(self.buckets, place, _buckets_of(fresh, buckets))
        if not self.last:
            self.names = pl.concat([self.names, fresh])


def _buckets_of(ngrams: pl.Series, buckets: int) -> NDArray[np.uint32]:
    """(n,) SHA-256 of each n-gram modulo ``buckets``."""
    sha256 = hashlib.sha256
    digests = b"".join([sha256(ngram).digest() for ngram in ngrams.cast(pl.Binary).to_list()])
    limbs = np.frombuffer(digests, dtype=f">u{_BYTES}").reshape(len(ngrams), hashlib.sha256().digest_size // _BYTES)
    found = np.zeros(len(ngrams), dtype=np.uint64)
    for limb in limbs.T:
        found = (found << np.uint64(_LIMB) | limb.astype(np.uint64)) % np.uint64(buckets)
    return found.astype(np.uint32)


def _cut(texts: pl.Series) -> pl.Series:
    """The tokens of each text, as lists."""
    # Lower case by Python, whose tables and rules differ from Rust's in a few letters.
    lower = pl.Series([text.lower() for text in texts], dtype=pl.String)
    return lower.str.extract_all(_TOKEN)


def _slices(texts: pl.Series) -> Iterator[pl.Series]:
    """The texts in order, a bounded number of characters at a time."""
    for first, last in spans(_offsets(texts.str.len_chars().fill_null(0).to_numpy() + 1)):
        yield texts.slice(first, last - first).fill_null("")


def spans(offsets: Ints) -> Iterator[tuple[int, int]]:
    """First and last text (exclusive) of parts with a bounded number of items; together they hold every item."""
    cuts = np.searchsorted(offsets, np.arange(0, offsets[-1], _AT_ONCE))
    cuts = np.unique(np.concatenate([cuts, [len(offsets) - 1]])).tolist()
    yield from pairwise(cuts)


def _neighbours(counts: Ints) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which items have one after them in the same text, and which have one before them."""
    total = int(counts.sum())
    starts, ends = np.ones(total, dtype=bool), np.ones(total, dtype=bool)
    there = counts > 0
    offsets = _offsets(counts)
    starts[offsets[1:][there] - 1] = False
    ends[offsets[:-1][there]] = False
    return starts, ends


def _offsets(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
