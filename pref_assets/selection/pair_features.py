"""Features of a pair that may say whether its label needs a person: sizes, overlaps and tags, as yes or no."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pool import Pool, Vectors
from pref_assets.selection.pair_vectors import unit_rows
from pref_assets.selection.strata import UNKNOWN, bins_of, lengths_of, metadata_of

_WORD = re.compile(r"\w+")
_ENTITY = re.compile(r"\b(?:[A-Z]\w+|\d[\d.,]*)")
BINS = 3


def pair_features(
    pool: Pool, pairs: pl.DataFrame, vectors: Vectors, tags: Sequence[str]
) -> tuple[list[str], NDArray[np.bool_]]:
    """Names (f,) and flags (n, f) of the pairs' features, in their order.

    Numbers are cut into three quantile bins, one flag each: cosine of the two answers, the share of words (ROUGE-1 F)
    and of entities (Jaccard; capitalised words and numbers stand for them) that they share, words of the prompt, of
    the shorter and the longer answer, and the difference. Every value of a metadata key in ``tags`` is a flag too.

    Raises:
        ValueError: a completion has no vector or text, or no prompt has a tag.
    """
    numbers = _numbers(pool, pairs, vectors)
    groups = {name: bins_of(numbers[name], BINS) for name in numbers.columns}
    groups |= {tag: metadata_of(pool, pairs, tag) for tag in tags}
    names, flags = [], []
    for name, values in groups.items():
        for value in sorted(set(values) - {UNKNOWN}):
            names.append(f"{name} {value}")
            flags.append((values == value).to_numpy())
    return names, np.stack(flags, axis=1) if flags else np.zeros((len(pairs), 0), dtype=bool)


def _numbers(pool: Pool, pairs: pl.DataFrame, vectors: Vectors) -> pl.DataFrame:
    lengths = lengths_of(pool, pairs, "words")
    texts = pool.texts(pairs)
    chosen = unit_rows(vectors.rows(pairs["chosen_id"].to_list()))
    rejected = unit_rows(vectors.rows(pairs["rejected_id"].to_list()))
    sides = list(zip(texts["chosen"], texts["rejected"], strict=True))
    return lengths.select(
        cosine_sim=pl.Series(np.einsum("nd,nd->n", chosen, rejected).astype(np.float64)),
        rouge=pl.Series([rouge_1(*each) for each in sides], dtype=pl.Float64),
        entity_sim=pl.Series([entity_overlap(*each) for each in sides], dtype=pl.Float64),
        token_len_diff=(pl.col("chosen") - pl.col("rejected")).abs().cast(pl.Float64),
        prompt_len=texts["prompt"].str.count_matches(r"\S+").cast(pl.Float64),
        len_shorter=pl.min_horizontal("chosen", "rejected").cast(pl.Float64),
        len_longer=pl.max_horizontal("chosen", "rejected").cast(pl.Float64),
    )


def rouge_1(one: str, other: str) -> float:
    """F measure of the words that two texts share, repeated ones counted as often as both have them."""
    a, b = (Counter(_WORD.findall(text.lower())) for text in (one, other))
    total = a.total() + b.total()
    return 2 * (a & b).total() / total if total else 1.0


def entity_overlap(one: str, other: str) -> float:
    """Jaccard similarity of the entities of two texts; 1 when neither has any.

    [code] The published code takes |B| + |B| - |A and B| for the union; it is |A| + |B| - |A and B|.
    """
    a, b = (set(_ENTITY.findall(text)) for text in (one, other))
    union = len(a) + len(b) - len(a & b)
    return len(a & b) / union if union else 1.0
