"""MinHash signatures of shingles, and the bands they are cut into."""

import numpy as np
from numpy.typing import NDArray

from pref_assets.pairs.duplicates.settings import NearDuplicates
from pref_assets.pairs.duplicates.shingles import Shingles
from pref_assets.pairs.duplicates.words import Hashes, mix

Signatures = NDArray[np.uint32]

_BLOCK = 1 << 16  # numbers hashed at once: they stay in the second-level cache
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0x9FB21C651E98DF25)
_HALF = np.uint64(32)


def signatures(items: Shingles, settings: NearDuplicates) -> Signatures:
    """(n, permutations) smallest hash of each item under each hash function; the largest number where it has none.

    The signature of a union of items is the smallest of theirs, place by place.
    """
    factors = _factors(settings)
    hashes = (items.hashes >> _HALF).astype(np.uint32)
    counts, starts = items.counts, items.offsets[:-1]
    found = np.full((len(counts), len(factors)), np.iinfo(np.uint32).max, dtype=np.uint32)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    while len(order):
        block, order = _block(order, counts)
        longest = int(counts[block[-1]])
        for first in range(0, longest, _BLOCK):
            # Rows beyond an item's end repeat its last shingle, which changes no minimum.
            place = np.arange(first, min(first + _BLOCK, longest))[:, None]
            padded = hashes[starts[block] + np.minimum(place, counts[block] - 1)]
            _lower(found, block, padded, factors)
    return found


def bands(signed: Signatures, settings: NearDuplicates) -> NDArray[np.uint32]:
    """(n, bands) hash of the signature's values in each band."""
    cut = signed.reshape(len(signed), settings.bands, settings.rows)
    combined = np.zeros(cut.shape[:2], dtype=np.uint64)
    for row in range(settings.rows):
        combined *= _ODD
        combined += cut[:, :, row]
    return (mix(combined) >> _HALF).astype(np.uint32)


def _block(order: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Items of about the same length that fill a block once padded to the longest, and the rest."""
    size = max(1, _BLOCK // int(counts[order[0]]))
    size = max(1, min(size, _BLOCK // int(counts[order[min(size, len(order)) - 1]])))
    return order[:size], order[size:]


def _lower(found: Signatures, block: NDArray[np.int64], padded: Signatures, factors: Signatures) -> None:
    scratch = np.empty_like(padded)
    lowest = np.empty((len(factors), len(block)), dtype=np.uint32)
    for which, factor in enumerate(factors):
        np.multiply(padded, factor, out=scratch)
        np.minimum.reduce(scratch, axis=0, out=lowest[which])
    found[block] = np.minimum(found[block], lowest.T)


def _factors(settings: NearDuplicates) -> Signatures:
    """Odd factors: multiplication by one is a bijection of 32-bit numbers, hence an order drawn from the seed."""
    place = np.arange(1, settings.permutations + 1, dtype=np.uint64) + np.uint64(settings.seed << 12)
    drawn: Hashes = mix(place * _GOLDEN)
    return (drawn >> _HALF).astype(np.uint32) | np.uint32(1)
