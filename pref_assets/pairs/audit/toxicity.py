"""Words that offend."""

from functools import lru_cache
from typing import Any, Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.audit.base import PARTS, Part, TextRule, named, rows_found

_SIGNS = set("!+")


class Toxicity(TextRule):
    """A prompt or an answer holds words of the list that comes with the package better-profanity, as whole words in any
    case (but for its four spellings with ``!`` and ``+`` for letters). A list knows no context: it flags quotations
    and anatomy, and misses threats in polite words.

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
        words = _patterns(listed - set(self.ignore))
        columns = [f"{part}_text" for part in self.parts]
        plain = texts.select("pair_id", *(_separated(pl.col(name)).alias(name) for name in columns))
        holding = plain.filter(pl.any_horizontal(pl.col(name).str.contains_any(words) for name in columns))
        rows = []
        for pair, *said in holding.select(
            "pair_id", pl.col(columns).str.extract_many(words, leftmost=True)
        ).iter_rows():
            parts = [(part, found) for part, found in zip(self.parts, said, strict=True) if found]
            detail = "; ".join(_says(part, found) for part, found in parts if len(found) >= self.min_words)
            if detail:
                rows.append((pair, detail))
        return rows_found(rows)


def _says(part: str, words: list[str]) -> str:
    distinct = sorted({" ".join(word.split()) for word in words})
    shown = ", ".join(f"`{word}`" for word in distinct[:3])
    return f"{named(part)} holds {len(words)} words of the list: {shown}{', ...' if len(distinct) > 3 else ''}"


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    from better_profanity.utils import get_complete_path_of_file, read_wordlist

    words = read_wordlist(get_complete_path_of_file("profanity_wordlist.txt"))
    return frozenset(word.lower() for word in words if not set(word) & _SIGNS)


def _separated(text: pl.Expr) -> pl.Expr:
    """The text's words in lower case, two blanks between them, so that no two words share one, and one at the ends."""
    return pl.concat_str(pl.lit(" "), text.str.to_lowercase().str.replace_all(r"\W+", "  "), pl.lit(" "))


def _patterns(words: frozenset[str]) -> list[str]:
    """Each word with a blank before and after; longest first: of words that begin alike, the first that fits counts."""
    separated = pl.Series(sorted(words), dtype=pl.String).to_frame("word").select(_separated(pl.col("word")))
    return sorted((f" {each.strip()} " for each in separated.to_series()), key=lambda each: (-len(each), each))
