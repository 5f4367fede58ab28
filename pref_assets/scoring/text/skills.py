"""Skills of texts and how they go together: what `skill_graph` counts."""

import json
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Counts = NDArray[np.float64]

_WORD = r"\p{L}[\p{L}\p{N}'’+#-]*"


@dataclass(frozen=True)
class SkillGraph:
    """Skills of a reference set of n items.

    Attributes:
        names: (k,) the skills, the most frequent first.
        vectors: (k, d) unit vectors.
        weights: (k, k) share of items with both skills, on the diagonal with the one: symmetric, no row has more than
            its diagonal, and the same for every multiple of the reference set.
    """

    names: list[str]
    vectors: Floats
    weights: Counts


def key_phrases(texts: pl.Series, most: int, words: int, least: int) -> pl.DataFrame:
    """Frame (item, skill): for each text the up to ``most`` phrases of 1 to ``words`` words with the highest tf-idf.

    A phrase is a run of words without an English stop word in it; those of fewer than ``least`` texts, or of all of
    them, are none. tf-idf is the phrase's occurrences in the text times log(n / texts that hold it).
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    lower = texts.str.to_lowercase().to_frame("text").with_row_index("item")
    # What is no word parts phrases, as a stop word does.
    found = lower.select("item", word=pl.col("text").str.extract_all(rf"{_WORD}|[^\s\p{{L}}]+")).explode("word")
    found = found.filter(pl.col("word").is_not_null()).with_columns(
        stop=~pl.col("word").str.contains(rf"^{_WORD}$")
        | pl.col("word").is_in(list(ENGLISH_STOP_WORDS))
        | (pl.col("word").str.len_chars() < 3)
    )
    grams = [
        found.with_columns(
            skill=pl.concat_str([pl.col("word").shift(-step).over("item") for step in range(size)], separator=" "),
            broken=pl.any_horizontal(pl.col("stop").shift(-step).over("item") for step in range(size)),
        )
        .filter(~pl.col("broken") & pl.col("skill").is_not_null())
        .select("item", "skill")
        for size in range(1, words + 1)
    ]
    counts = pl.concat(grams).group_by("item", "skill").agg(tf=pl.len())
    counts = counts.with_columns(texts=pl.len().over("skill"))
    counts = counts.filter((pl.col("texts") >= least) & (pl.col("texts") < len(texts)))
    scored = counts.with_columns(score=pl.col("tf") * (len(texts) / pl.col("texts")).log())
    ordered = scored.sort(["item", "score", "skill"], descending=[False, True, False])
    return ordered.group_by("item", maintain_order=True).head(most).select("item", "skill")


def named_skills(metadata: pl.Series, field: str, least: int) -> pl.DataFrame:
    """Frame (item, skill) of what the prompts' metadata (JSON) holds in ``field``, a string or a list of strings;
    skills of fewer than ``least`` items are left out.

    Raises:
        ValueError: no prompt has such a field, or one holds something else in it.
    """
    rows: list[tuple[int, str]] = []
    for item, text in enumerate(metadata.fill_null("{}")):
        said = json.loads(text).get(field)
        values = [] if said is None else [said] if isinstance(said, str) else said
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ValueError(f"the metadata field {field!r} of a prompt is no string and no list of them: {said!r}")
        rows += [(item, value) for value in dict.fromkeys(values)]
    if not rows:
        raise ValueError(f"no prompt of the reference pairs has a metadata field {field!r}")
    found = pl.DataFrame(rows, schema={"item": pl.UInt32, "skill": pl.String}, orient="row")
    return found.filter(pl.len().over("skill") >= least)


def build_graph(items: pl.DataFrame, vectors: Floats, most: int, merge_above: float) -> SkillGraph:
    """The graph of skills of items, frame (item, skill) with each once, items being rows of ``vectors`` (n, d).

    A skill's vector is the mean of its items', scaled to length one. Of the ``most`` most frequent skills, one whose
    cosine with a more frequent one is above ``merge_above`` is the same skill; an item has a skill when it has one of
    its names. Time O(most² · d + n · most²), memory O(n · most).

    Raises:
        ValueError: there is no skill.
    """
    frequent = items.group_by("skill").agg(n=pl.len()).sort(["n", "skill"], descending=[True, False]).head(most)
    if frequent.is_empty():
        raise ValueError("skill_graph: no skill occurs often enough; lower `min_items`, or widen the reference")
    names = frequent["skill"].to_list()
    numbered = items.join(frequent.with_row_index("column").select("skill", "column"), on="skill")
    has = np.zeros((len(vectors), len(names)), dtype=np.float32)
    has[numbered["item"].to_numpy(), numbered["column"].to_numpy()] = 1
    centres = _unit(has.T @ vectors)
    same_as = _merged(centres, merge_above)
    kept = np.unique(same_as)
    merged = np.stack([has[:, same_as == one].max(axis=1) for one in kept], axis=1)
    weights = (merged.T.astype(np.float64) @ merged) / len(vectors)
    order = np.lexsort((kept, -np.diagonal(weights)))
    return SkillGraph(
        [names[int(one)] for one in kept[order]], _unit(merged.T @ vectors)[order], weights[np.ix_(order, order)]
    )


def aggregate(similarity: Counts, weights: Counts) -> tuple[Counts, Counts]:
    """``linear`` (n,): 1ᵀ A s, and ``quadratic`` (n,): sᵀ A s, of similarities s (n, k) to skills with weights A."""
    spread = similarity @ weights
    return spread.sum(axis=1), (spread * similarity).sum(axis=1)


def _merged(centres: Floats, above: float) -> NDArray[np.int64]:
    """(k,) which skill each one is: itself, or the first kept one that it is too close to."""
    close = centres @ centres.T > above
    same_as = np.arange(len(centres))
    kept: list[int] = []
    for one in range(len(centres)):
        near = [other for other in kept if close[one, other]]
        if near:
            same_as[one] = near[0]
        else:
            kept.append(one)
    return same_as


def _unit(matrix: Floats) -> Floats:
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(norms == 0, 1, norms), dtype=np.float32)
