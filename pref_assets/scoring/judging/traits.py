"""Traits of an answer that a rule can count."""

from collections.abc import Callable
from typing import Literal

import polars as pl

from pref_assets.inspection.traits import Traits
from pref_assets.pairs.audit.refusals import Refusal

Trait = Literal[
    "characters",
    "words",
    "type_token_ratio",
    "lists",
    "headings",
    "bold",
    "code",
    "tables",
    "links",
    "numbers",
    "questions",
    "exclamations",
    "politeness",
    "apologies",
    "refusal",
    "ends_with_question",
]
_PATTERNS = Traits().patterns
_POLITE = r"(?i)\b(?:please|thank(?:s| you)|you're welcome|you’re welcome|glad to|happy to|kindly|of course)\b"
_SORRY = r"(?i)\b(?:sorry|apologi[sz]e|apologies|pardon|regret)\b"
_COUNTED = {
    "words": r"\S+",
    "lists": _PATTERNS["list"],
    "headings": _PATTERNS["heading"],
    "bold": _PATTERNS["bold"],
    "code": _PATTERNS["code block"],
    "tables": _PATTERNS["table"],
    "links": _PATTERNS["link"],
    "numbers": r"\d+",
    "questions": r"\?",
    "exclamations": r"!",
    "politeness": _POLITE,
    "apologies": _SORRY,
}


def amount(trait: Trait, column: str) -> pl.Expr:
    """How much of the trait the text in a column has, Float64: a count; a share of distinct words
    (``type_token_ratio``, 1 for an empty text); 1 or 0 (``refusal``, ``ends_with_question``)."""
    if trait in _COUNTED:
        return occurrences(_COUNTED[trait], column)
    return _MEASURES[trait](column).cast(pl.Float64)


def occurrences(pattern: str, column: str) -> pl.Expr:
    """How often the regular expression matches the text in a column, Float64."""
    return pl.col(column).str.count_matches(pattern).cast(pl.Float64)


def _type_token_ratio(column: str) -> pl.Expr:
    words = pl.col(column).str.to_lowercase().str.extract_all(r"[\p{L}\p{N}']+")
    return pl.when(words.list.len() == 0).then(1.0).otherwise(words.list.n_unique() / words.list.len())


_MEASURES: dict[str, Callable[[str], pl.Expr]] = {
    "characters": lambda column: pl.col(column).str.len_chars(),
    "type_token_ratio": _type_token_ratio,
    "refusal": lambda column: Refusal().refuses(column),
    "ends_with_question": lambda column: pl.col(column).str.strip_chars_end().str.ends_with("?"),
}
