"""Words of many texts as 64-bit hashes, computed on bytes: the same on every machine and in every version."""

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]

ALGORITHM = 1
"""Part of every store key that depends on these hashes; raise it when they change."""
_SPACE = 0x20
_STEP = 8
_TAIL = b" " * (_STEP + 1)
_NOT_A_WORD = r"[^\p{L}\p{M}\p{N}]+"
# Scripts written without spaces: each character counts as a word.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_FOLD = bytes(
    byte if byte >= 0x80 else ord(chr(byte).lower()) if chr(byte).isalnum() else _SPACE for byte in range(256)
)
_LOW_BYTES = np.array([(1 << (8 * n)) - 1 for n in range(_STEP + 1)], dtype=np.uint64)
_LONGEST = 256
"""Bytes of a word that are hashed in steps over all words at once; longer ones are hashed one by one."""
_A, _B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)


@dataclass(frozen=True)
class Words:
    """Words of n texts.

    Attributes:
        hashes: a hash for each word, text after text.
        offsets: (n + 1,) where each text's words begin in ``hashes``.
        data: the texts in lower case with everything between words blank.
        starts, ends: where in ``data`` each word is; equal for the one word that stands for a text without any.
    """

    hashes: Hashes
    offsets: Offsets
    data: bytes
    starts: Offsets
    ends: Offsets

    def text(self, first: int, last: int) -> str:
        """Words ``first`` to ``last`` (exclusive) of the whole sequence, with single spaces."""
        said = (self.data[a:b] for a, b in zip(self.starts[first:last], self.ends[first:last], strict=True))
        return " ".join(word.decode() for word in said)


def words(texts: pl.Series) -> Words:
    """Words of each text: runs of letters, marks and digits in lower case; single characters in scripts without spaces.

    A text without words counts as one word: itself, without the white space around it.
    """
    texts = texts.fill_null("")
    plain = _plain(texts)
    data = (" " + (plain.str.join(" ").item() or "")).encode().translate(_FOLD) + _TAIL
    blank = np.frombuffer(data, np.uint8) == _SPACE
    edges = np.flatnonzero(blank[1:] != blank[:-1]) + 1
    starts, ends = edges[0::2], edges[1::2]
    begins = np.concatenate([[0], np.cumsum(plain.str.len_bytes().to_numpy().astype(np.int64) + 1)])
    offsets = np.searchsorted(starts, begins).astype(np.int64)
    return _with_wordless(texts, Words(_hashed(data, starts, ends - starts), offsets, data, starts, ends))


def mix(hashes: Hashes) -> Hashes:
    """A bijection after which every bit depends on every bit; in place."""
    hashes ^= hashes >> _SHIFT
    hashes *= _B
    hashes ^= hashes >> _SHIFT
    hashes *= _B
    hashes ^= hashes >> _SHIFT
    return hashes


def hash_text(text: str) -> int:
    """64-bit hash of a whole text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _plain(texts: pl.Series) -> pl.Series:
    """The texts, those beyond ASCII in lower case and with blanks between their words."""
    beyond = texts.str.len_bytes() != texts.str.len_chars()
    if not beyond.any():
        return texts
    rest = texts.filter(beyond).str.to_lowercase()
    rest = rest.str.replace_all(_UNSPACED, " ${0} ").str.replace_all(_NOT_A_WORD, " ")
    return texts.clone().scatter(beyond.arg_true(), rest)  # scatter changes its series


def _hashed(data: bytes, starts: Offsets, lengths: Offsets) -> Hashes:
    """A hash of each word: eight bytes at a time, mixed into what came before."""
    eights = np.ndarray((len(data) - _STEP + 1,), dtype="<u8", buffer=data, strides=(1,))
    hashes = lengths.astype(np.uint64) * _A
    hashes ^= eights[starts] & _LOW_BYTES[np.minimum(lengths, _STEP)]
    mix(hashes)
    long = np.flatnonzero(lengths > _STEP)
    for done in range(_STEP, _LONGEST, _STEP):
        rest = lengths[long] - done
        more = (hashes[long] * _A) ^ (eights[starts[long] + done] & _LOW_BYTES[np.minimum(rest, _STEP)])
        hashes[long] = mix(more)
        long = long[rest > _STEP]
        if not len(long):
            return hashes
    for word in long.tolist():
        hashes[word] = hash_text(data[starts[word] : starts[word] + lengths[word]].decode())
    return hashes


def _with_wordless(texts: pl.Series, found: Words) -> Words:
    """The same with one word for each text that has none."""
    empty = np.flatnonzero(np.diff(found.offsets) == 0)
    if not len(empty):
        return found
    where = found.offsets[empty]
    whole = [hash_text(text) for text in texts.gather(empty).str.strip_chars()]
    offsets = found.offsets.copy()
    offsets[1:] += np.cumsum(np.diff(found.offsets) == 0)
    return Words(
        np.insert(found.hashes, where, np.array(whole, dtype=np.uint64)),
        offsets,
        found.data,
        np.insert(found.starts, where, 0),
        np.insert(found.ends, where, 0),
    )
