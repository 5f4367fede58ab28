"""Which word sequences are in which bench texts: an inverted index that most texts never touch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pref_assets.pairs.duplicates.shingles import Shingles
from pref_assets.pairs.duplicates.words import Hashes

_FILTER_BITS = 24
_SHIFT = np.uint64(64 - _FILTER_BITS)

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Grams:
    """Inverted index of grams.

    Attributes:
        seen: (2^24,) whether any gram begins with these bits: what makes a look-up cheap.
        hashes: (g,) distinct grams, sorted.
        starts: (g + 1,) where each gram's texts begin in ``texts``.
        texts: places of bench texts; a gram that is too common has none.
        sizes: distinct grams of each text that are not too common.
    """

    seen: NDArray[np.bool_]
    hashes: Hashes
    starts: Places
    texts: Places
    sizes: Places

    @classmethod
    def of(cls, items: Shingles, common: int) -> "Grams":
        """The index of the grams of bench texts; those of more than ``common`` texts name none."""
        owner = np.repeat(np.arange(len(items.counts)), items.counts)
        order = np.lexsort((owner, items.hashes))
        hashes, owner = items.hashes[order], owner[order]
        new_hash = np.ones(len(hashes), dtype=bool)
        new_hash[1:] = hashes[1:] != hashes[:-1]
        new = new_hash.copy()
        new[1:] |= owner[1:] != owner[:-1]
        hashes, owner, new_hash = hashes[new], owner[new], new_hash[new]
        counts = np.diff(np.concatenate([np.flatnonzero(new_hash), [len(hashes)]]))
        rare = np.repeat(counts <= common, counts)
        distinct = hashes[new_hash]
        seen = np.zeros(1 << _FILTER_BITS, dtype=bool)
        seen[distinct >> _SHIFT] = True
        starts = np.concatenate([[0], np.cumsum(np.where(counts <= common, counts, 0))]).astype(np.int64)
        return cls(seen, distinct, starts, owner[rare], np.bincount(owner[rare], minlength=len(items.counts)))

    def find(self, hashes: Hashes) -> tuple[Places, Places, Places]:
        """Every (place in ``hashes``, gram, bench text) that agrees, and -1 for the text of a gram too common."""
        maybe = np.flatnonzero(self.seen[hashes >> _SHIFT])
        gram = np.minimum(np.searchsorted(self.hashes, hashes[maybe]), len(self.hashes) - 1)
        sure = self.hashes[gram] == hashes[maybe] if len(maybe) else np.zeros(0, dtype=bool)
        place, gram = maybe[sure], gram[sure]
        counts = self.starts[gram + 1] - self.starts[gram]
        lines = np.maximum(counts, 1)
        row = np.repeat(np.arange(len(gram)), lines)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(lines) - lines, lines)
        texts = np.full(len(row), -1, dtype=np.int64)
        named = counts[row] > 0
        texts[named] = self.texts[(self.starts[gram[row]] + nth)[named]]
        return place[row], gram[row], texts
