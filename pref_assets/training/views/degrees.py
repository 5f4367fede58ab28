"""Answers that say less and less: a growing share of their key words left out."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from pref_assets.training.views.parts import Messages, Part, edit_last, last_text, parts_frame

Extractor = Literal["rake", "tfidf"]
_TOKEN = re.compile(r"\S+\s*")
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_PHRASE_END = re.compile(r"[.,;:!?()\[\]{}\"“”\n]")


@cache
def _stop_words() -> frozenset[str]:
    """English words that carry little; they end a phrase in `rake` and are left out last."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)


def ladder(text: str, shares: Sequence[float], weights: Mapping[str, float]) -> list[str] | None:
    """Versions of a text without growing shares of its words, those of the largest weight first.

    Args:
        text: the whole.
        shares: of words left out, rising, each in (0, 1).
        weights: of words in small letters; 0 where missing. Among equals the earlier word goes first.

    Returns:
        One version a share, each without all the words that the one before lacks and at least one more; null when
        the text is too short for that.
    """
    tokens = _TOKEN.findall(text)
    order = sorted(range(len(tokens)), key=lambda i: (-weights.get(_key(tokens[i]), 0.0), i))
    counts = [round(share * len(tokens)) for share in shares]
    if any(now >= then for now, then in zip([0, *counts], [*counts, len(tokens)], strict=True)):
        return None
    return ["".join(token for i, token in enumerate(tokens) if i not in set(order[:n])).strip() for n in counts]


def _key(token: str) -> str:
    found = _WORD.search(token)
    return found[0].lower() if found else ""


def rake(text: str) -> dict[str, float]:
    """Weight of each word that is no stop word: words it stands in phrases with, by times it occurs (Rose et al. 2010,
    Automatic keyword extraction from individual documents)."""
    frequency: Counter[str] = Counter()
    degree: dict[str, int] = defaultdict(int)
    for piece in _PHRASE_END.split(text):
        phrase: list[str] = []
        for word in [*_WORD.findall(piece.lower()), ""]:
            if word and word not in _stop_words():
                phrase.append(word)
                continue
            for each in phrase:
                frequency[each] += 1
                degree[each] += len(phrase)
            phrase = []
    return {word: degree[word] / n for word, n in frequency.items()}


def tfidf(texts: Sequence[str]) -> list[dict[str, float]]:
    """Weight of each word in each text: times it occurs there, times log of texts over texts that have it, and one."""
    counts = [Counter(word.lower() for word in _WORD.findall(text)) for text in texts]
    having = Counter(word for count in counts for word in count)
    idf = {word: 1 + math.log(len(texts) / n) for word, n in having.items()}
    return [{word: n * idf[word] for word, n in count.items() if word not in _stop_words()} for count in counts]


def degree_parts(
    rows: pl.DataFrame, shares: Sequence[float], extractor: Extractor, names: Sequence[str]
) -> pl.DataFrame:
    """``PARTS``: the chosen answers without growing shares of their key words, one part a share.

    A pair lacks all of them where its answer holds more than text or is too short. With `tfidf` the weights depend on
    all the rows, with `rake` on the answer alone.
    """
    columns = ("pair_id", "prompt", "chosen")
    items = [(*row, last_text(row[2], "assistant")) for row in rows.sort("pair_id").select(columns).iter_rows()]
    plain = [text for *_, text in items if text is not None]
    weights = iter(tfidf(plain) if extractor == "tfidf" else map(rake, plain))
    found = []
    for pair, prompt, chosen, text in items:
        versions = None if text is None else ladder(text, shares, next(weights))
        for name, version in zip(names, versions or (), strict=bool(versions)):
            found.append(Part(pair, name, prompt, _saying(chosen, version)))
    return parts_frame(found)


def _saying(chosen: Messages, text: str) -> list[dict[str, str]]:
    changed = edit_last(chosen, "assistant", lambda _: text)
    assert changed is not None
    return changed


def length_probe_accuracy(lengths: ArrayLike, degrees: ArrayLike) -> float:
    """Share of degrees that length alone tells: the nearest mean of log length, fitted and measured on the same texts.

    Leaving words out shortens, so a probe of degrees must beat this number before it says anything about content.

    Args:
        lengths: words or tokens of each text, (n,), above 0.
        degrees: the degree of each, (n,).
    """
    log, degree = np.log(np.asarray(lengths, float)), np.asarray(degrees)
    levels = np.unique(degree)
    means = np.array([log[degree == level].mean() for level in levels])
    nearest = levels[np.abs(log[:, None] - means).argmin(1)]
    return float((nearest == degree).mean())
