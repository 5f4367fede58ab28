"""Words that offend."""

import re
from functools import lru_cache
from typing import Any, Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.audit.base import PARTS, Part, TextRule, named, rows_found


class Toxicity(TextRule):
    """A prompt or an answer holds words of the list that comes with the package better-profanity, as whole words in any
    case. A list knows no context: it flags quotations and anatomy, and misses threats in polite words.

    Severity info; keeps by default: harmlessness data is about such texts.
    """

    type: Literal["toxicity"] = "toxicity"
    severity = "info"
    action = "keep"
    costly = True
    parts: tuple[Part, ...] = Field(default=PARTS, min_length=1)
    """What is looked at: prompt, chosen answer, rejected answer."""
    min_words: int = Field(default=1, ge=1)
    """Fewest words of the list in one text that are flagged."""
    ignore: tuple[str, ...] = ()
    """Words of the list that do not count."""

    def version(self) -> list[Any]:
        from importlib.metadata import version

        return [*super().version(), version("better-profanity")]

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        listed = _words()
        strangers = sorted(set(self.ignore) - listed)
        if strangers:
            raise ValueError(f"words to ignore that are not in better-profanity's list: {strangers}")
        pattern = _pattern(listed - set(self.ignore))
        columns = [f"{part}_text" for part in self.parts]
        holding = texts.select("pair_id", *columns).filter(
            pl.any_horizontal(pl.col(name).str.contains(pattern) for name in columns)
        )
        rows = []
        for pair, *said in holding.select("pair_id", pl.col(columns).str.extract_all(pattern)).iter_rows():
            parts = [(part, words) for part, words in zip(self.parts, said, strict=True) if words]
            detail = "; ".join(_says(part, words) for part, words in parts if len(words) >= self.min_words)
            if detail:
                rows.append((pair, detail))
        return rows_found(rows)


def _says(part: str, words: list[str]) -> str:
    distinct = sorted({word.lower() for word in words})
    shown = ", ".join(f"`{word}`" for word in distinct[:3])
    return f"{named(part)} holds {len(words)} words of the list: {shown}{', ...' if len(distinct) > 3 else ''}"


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    from better_profanity.utils import get_complete_path_of_file, read_wordlist

    return frozenset(word.lower() for word in read_wordlist(get_complete_path_of_file("profanity_wordlist.txt")))


def _pattern(words: frozenset[str]) -> str:
    # Longest first: of words that begin alike, the alternation takes the first that fits.
    ordered = sorted(words, key=lambda word: (-len(word), word))
    return r"(?i)\b(?:" + "|".join(re.escape(word) for word in ordered) + r")\b"
