"""What answers look like, whatever they say: their length and the traits of their form."""

import polars as pl
from pydantic import Field

from pref_assets.pairs.audit.refusals import Refusal
from pref_assets.pairs.texts import contents_of
from pref_assets.settings import Settings

SIDES = ("chosen", "rejected")
REFUSAL = "refusal"
_TRAITS = {
    "list": r"(?m)^[ \t]*(?:[-*+•] |\d{1,3}[.)] )",
    "heading": r"(?m)^[ \t]*#{1,6} ",
    "bold": r"\*\*[^*\n]+\*\*",
    "code block": r"(?m)^[ \t]*```",
    "table": r"(?m)^[ \t]*\|.*\|[ \t]*$",
    "link": r"https?://",
    "question": r"\?",
    "exclamation": r"!",
    "number": r"\d",
    "apology opening": r"(?i)^\W*(?:(?:i'm|i am|i’m) )?(?:so |very |really )?(?:sorry|apologi[sz]e)",
    "praise opening": r"(?i)^\W*(?:that's |that’s |what )?(?:an? )?(?:great|good|excellent|wonderful|fantastic) "
    r"(?:question|idea|point|choice)",
}


class Traits(Settings):
    """Traits of form that an answer has or has not (Zhang et al. 2024, arXiv:2409.11704, on lists, bold and links)."""

    patterns: dict[str, str] = Field(default=_TRAITS, min_length=1)
    """Regular expression of each trait; an answer has the trait where it matches somewhere."""
    refusal: Refusal = Refusal()
    """How refusals sound, the trait ``refusal``."""

    def names(self) -> list[str]:
        """Every trait, in order."""
        return [*self.patterns, REFUSAL]

    def look(self, texts: pl.DataFrame) -> pl.DataFrame:
        """Lengths and traits of both sides.

        Args:
            texts: rows of ``PAIR_TEXTS``.

        Returns:
            pair_id, prompt_id, chosen_id, rejected_id and, for each side, ``characters_<side>`` and ``words_<side>``
            (Int32; a word is what stands between spaces) and ``<trait>_<side>`` (Boolean).
        """
        ids = texts.select("pair_id", "prompt_id", "chosen_id", "rejected_id")
        seen = texts.select(contents_of(side).alias(side) for side in SIDES)
        return ids.hstack(seen.select(each for side in SIDES for each in self._of(side)))

    def _of(self, side: str) -> list[pl.Expr]:
        text = pl.col(side)
        found = {name: text.str.contains(pattern) for name, pattern in self.patterns.items()}
        return [
            text.str.len_chars().cast(pl.Int32).alias(f"characters_{side}"),
            text.str.count_matches(r"\S+").cast(pl.Int32).alias(f"words_{side}"),
            *(each.alias(f"{name}_{side}") for name, each in found.items()),
            self.refusal.refuses(side).alias(f"{REFUSAL}_{side}"),
        ]
