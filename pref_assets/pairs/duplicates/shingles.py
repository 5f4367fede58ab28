"""Word shingles of conversations, and how much two of them share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pairs.duplicates.words import Hashes, Offsets, Words, mix, words

_ODD = np.uint64(0x9FB21C651E98DF25)
_BITS = np.uint64(44)
_KEPT = np.uint64((1 << 44) - 1)
_ITEMS = 1 << 13
"""Items or comparisons at once, which bounds memory; fewer than 2^20, as each is packed into 64 bits with a hash."""


@dataclass(frozen=True)
class Shingles:
    """Shingle hashes of n items: item ``i`` has ``hashes[offsets[i]:offsets[i + 1]]``."""

    hashes: Hashes
    offsets: Offsets

    @property
    def counts(self) -> Offsets:
        return np.diff(self.offsets)

    def take(self, items: NDArray[np.int64]) -> "Shingles":
        """The named items, in that order."""
        counts = self.counts[items]
        return Shingles(self.hashes[_spans(self.offsets[items], counts)], _offsets(counts))

    def sets(self) -> "Shingles":
        """The same with each shingle of an item once, in order, and hashes of 44 bits."""
        return concat([self._slice(first, first + _ITEMS)._sets() for first in range(0, len(self.counts), _ITEMS)])

    def _slice(self, first: int, last: int) -> "Shingles":
        offsets = self.offsets[first : last + 1]
        return Shingles(self.hashes[offsets[0] : offsets[-1]], offsets - offsets[0])

    def _sets(self) -> "Shingles":
        item = np.repeat(np.arange(len(self.counts), dtype=np.uint64), self.counts)
        packed = np.sort(item << _BITS | self.hashes >> np.uint64(64) - _BITS)  # np.unique is several times slower
        once = packed[np.concatenate([np.ones(min(len(packed), 1), dtype=bool), packed[1:] != packed[:-1]])]
        counts = np.bincount((once >> _BITS).astype(np.int64), minlength=len(self.counts))
        return Shingles(once & _KEPT, _offsets(counts))


def concat(parts: Sequence[Shingles]) -> Shingles:
    """The items of all parts, one after another."""
    counts = [part.counts for part in parts]
    return Shingles(
        np.concatenate([np.empty(0, np.uint64), *(part.hashes for part in parts)]),
        _offsets(np.concatenate([np.empty(0, np.int64), *counts])),
    )


def shingles(conversations: pl.Series, size: int) -> Shingles:
    """Shingles of conversations (``MESSAGES``), repeats included: ``size`` words in a row of one turn, whoever speaks.

    A turn of fewer words is one shingle; a conversation without turns has none.
    """
    turns = conversations.list.len().fill_null(0).to_numpy().astype(np.int64)
    texts = conversations.explode(empty_as_null=False, keep_nulls=False).struct.field("content")
    by_turn = windows(words(texts), size)
    return Shingles(by_turn.hashes, by_turn.offsets[_offsets(turns)])


def windows(found: Words, size: int) -> Shingles:
    """Shingles of each text: a hash of every ``size`` words in a row, in order; of all its words where it has fewer."""
    counts = np.diff(found.offsets)
    hashes = found.hashes.copy()
    for step in range(1, min(size, len(hashes))):
        hashes[:-step] *= _ODD
        hashes[:-step] += found.hashes[step:]
    last = found.offsets[1:, None] - np.arange(1, size)
    starts = np.ones(len(hashes), dtype=bool)
    starts[last[last >= found.offsets[:-1, None]]] = False
    short = np.flatnonzero((counts < size) & (counts > 0))
    hashes[found.offsets[short]] = _whole(found, short, counts[short])
    starts[found.offsets[short]] = True
    return Shingles(mix(hashes[starts]), _offsets(np.where(counts > 0, np.maximum(counts - size + 1, 1), 0)))


def jaccard(items: Shingles, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """Jaccard similarity of ``items`` ``left[i]`` and ``right[i]``, made by ``sets``; 1 where both are empty.

    Exact but for two shingles whose hashes agree in 44 bits: one comparison in ten million of 1,000 shingles each.
    """
    parts = [_shared(items, left[at : at + _ITEMS], right[at : at + _ITEMS]) for at in range(0, len(left), _ITEMS)]
    shared = np.concatenate([np.empty(0, np.int64), *parts])
    union = items.counts[left] + items.counts[right] - shared
    return np.divide(shared, union, out=np.ones(len(left)), where=union > 0)


def _shared(items: Shingles, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many shingles are in both."""
    sides = [items.take(left), items.take(right)]
    keys = [np.repeat(np.arange(len(left), dtype=np.uint64), side.counts) << _BITS | side.hashes for side in sides]
    both = np.sort(np.concatenate(keys))
    twice = both[1:][both[1:] == both[:-1]] >> _BITS
    return np.bincount(twice.astype(np.int64), minlength=len(left)).astype(np.int64)


def _whole(found: Words, texts: NDArray[np.int64], counts: Offsets) -> Hashes:
    """A hash of all words of each of these texts."""
    first = found.offsets[texts]
    hashes = found.hashes[first].copy()
    for step in range(1, int(counts.max(initial=0))):
        more = counts > step
        hashes[more] = hashes[more] * _ODD + found.hashes[first[more] + step]
    return hashes ^ counts.astype(np.uint64)


def _offsets(counts: Offsets) -> Offsets:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _spans(starts: Offsets, counts: Offsets) -> Offsets:
    """The positions ``starts[i]`` to ``starts[i] + counts[i]`` of every i, one after another."""
    jumps = np.repeat(starts - _offsets(counts)[:-1], counts)
    return jumps + np.arange(len(jumps))
