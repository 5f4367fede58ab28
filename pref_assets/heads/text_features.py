"""Named numbers of answers that a person can check: what `feature_bt` learns from."""

import re
from collections import Counter
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from pref_assets.heads.base import Floats
from pref_assets.heads.side_values import rated_sides
from pref_assets.pairs.texts import contents_of
from pref_assets.pool import Pool
from pref_assets.settings import Settings

Sign = Literal["+", "-", "none"]
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_HEDGES = (
    r"\b(?:may|might|could|perhaps|possibly|probably|presumably|apparently|maybe|somewhat|likely|unlikely|roughly|"
    r"generally|usually|often|sometimes|seems?|appears?|suggests?|i think|i believe|i guess|it depends|not sure|"
    r"as far as i know|to some extent)\b"
)
_STOP = re.compile(
    r"an?|and|are|as|at|be|but|by|can|do|does|for|from|had|has|have|how|i|if|in|into|is|its?|me|my|no|not|of|on|or|our|"
    r"should|so|than|that|the|their|them|then|there|these|they|this|to|was|we|were|what|when|where|which|who|why|will|"
    r"with|would|your?"
)


class TextFeature(Settings):
    """A number of an answer, and which way it may count.

    ``words``: log(1 + words). ``redundancy``: share of its word n-grams that it has said before. ``prompt_coverage``:
    share of the prompt's different content words that it uses. ``copied``: share of its word n-grams that stand in the
    prompt. ``hedges``: hedging phrases for every 100 words, English. An answer too short for an n-gram has 0.
    """

    name: Literal["words", "redundancy", "prompt_coverage", "copied", "hedges"]
    """Which number."""
    sign: Sign = "none"
    """`+`: more is never worse; `-`: more is never better; `none`: as the data say."""
    ngram: int = Field(default=3, ge=1, le=20)
    """Words of an n-gram, for `redundancy` and `copied`."""

    def key(self) -> str:
        """What it is called among the contributions."""
        return self.name


class PatternFeature(Settings):
    """How often a regular expression matches the answer, or whether it does."""

    pattern: str
    """Regular expression of Python; case matters unless it says `(?i)`."""
    label: str = Field(min_length=1, pattern=r"^\w+$")
    """What it is called among the contributions."""
    count: Literal["any", "log"] = "any"
    """1 where it matches, or log(1 + matches)."""
    sign: Sign = "none"
    """`+`: more is never worse; `-`: more is never better; `none`: as the data say."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern

    def key(self) -> str:
        """What it is called among the contributions."""
        return self.label


class RatedFeature(Settings):
    """A rated dimension of the completions, e.g. what a language model says of faithfulness, as in the paper."""

    dimension: str = Field(min_length=1)
    """Dimension of the ratings; the mean over raters counts."""
    sign: Sign = "none"
    """`+`: more is never worse; `-`: more is never better; `none`: as the data say."""

    def key(self) -> str:
        """What it is called among the contributions."""
        return self.dimension


Feature = Annotated[TextFeature | PatternFeature | RatedFeature, Field(union_mode="left_to_right")]
DEFAULT = tuple(TextFeature(name=name) for name in ("words", "redundancy", "prompt_coverage", "copied", "hedges"))


def feature_sides(pool: Pool, pairs: pl.DataFrame, features: tuple[Feature, ...]) -> tuple[Floats, Floats]:
    """Features of the chosen and of the rejected side, (n, K) each. O(text).

    Raises:
        ValueError: a completion has no text or no rating, or a pair no prompt where a feature reads one.
    """
    rated = {each.dimension for each in features if isinstance(each, RatedFeature)}
    known = {dimension: rated_sides(pool, pairs, dimension) for dimension in sorted(rated)}
    written = [each for each in features if not isinstance(each, RatedFeature)]
    sides: list[Floats] = []
    for place, side in enumerate(("chosen", "rejected")):
        texts = _texts(pool, pairs, side) if written else {}
        # A completion is in many pairs as a rule.
        measured = {id_: [feature_of(each, *text) for each in written] for id_, text in texts.items()}
        columns = {each.key(): known[each.dimension][place] for each in features if isinstance(each, RatedFeature)}
        for number, each in enumerate(written):
            columns[each.key()] = np.array([measured[id_][number] for id_ in pairs[f"{side}_id"]])
        matrix = np.stack([columns[each.key()].astype(np.float64) for each in features], axis=1)
        sides.append(matrix.reshape(len(pairs), len(features)))
    return sides[0], sides[1]


def feature_of(feature: TextFeature | PatternFeature, prompt: str, answer: str) -> float:
    """One feature of an answer to a prompt."""
    if isinstance(feature, PatternFeature):
        matches = sum(1 for _ in re.finditer(feature.pattern, answer))
        return float(np.log1p(matches)) if feature.count == "log" else float(matches > 0)
    words = _words(answer)
    if feature.name == "words":
        return float(np.log1p(len(words)))
    if feature.name == "hedges":
        return 100 * len(re.findall(_HEDGES, answer.lower())) / max(1, len(words))
    if feature.name == "prompt_coverage":
        terms = {word for word in _words(prompt) if not _STOP.fullmatch(word)}
        return len(terms & set(words)) / len(terms) if terms else 0.0
    grams = _grams(words, feature.ngram)
    total = sum(grams.values())
    if not total:
        return 0.0
    if feature.name == "redundancy":
        return 1 - len(grams) / total
    there = _grams(_words(prompt), feature.ngram)
    return sum(times for gram, times in grams.items() if gram in there) / total


@lru_cache(maxsize=4096)
def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: list[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(size)), strict=False))


def _texts(pool: Pool, pairs: pl.DataFrame, side: str) -> dict[str, tuple[str, str]]:
    """(prompt, answer) of each completion on a side, by its id."""
    turns = contents_of("messages")
    ids = pairs.select(completion_id=f"{side}_id").unique()
    answers = pool.completions.select("completion_id", "prompt_id", answer=turns).join(ids, on="completion_id")
    found = answers.join(pool.prompts.select("prompt_id", prompt=turns), on="prompt_id", how="left")
    texts = {id_: (prompt, answer) for id_, prompt, answer in found.select("completion_id", "prompt", "answer").rows()}
    silent = [id_ for id_ in ids["completion_id"] if None in texts.get(id_, (None,))]
    if silent:
        raise ValueError(
            f"feature_bt: {len(silent)} completions have no text or no prompt in the tables, "
            f"e.g. {sorted(silent)[:3]}; materialize the pairs again"
        )
    return texts
