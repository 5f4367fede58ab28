"""Answers that decline."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.audit.base import SIDES, TextRule, found, which_sides

_CANNOT = r"(?:can't|cannot|can not|won't|will not|couldn't|am unable to|am not able to|'m unable to|'m not able to)"
_HELP = (
    r"(?:help|assist|provide|comply|fulfill?|answer|support|engage|create|write|generate|give|share|discuss|tell you|"
    r"participate|recommend|condone|promote|encourage|do that|do this)\b"
)
PHRASES = (
    rf"\bi ?{_CANNOT} (?:\w+ )?{_HELP}",
    rf"(?:sorry|apologi[sz]e|afraid)\b[^.!?]{{0,40}}\bi ?{_CANNOT}",
    rf"\bi(?:'m| am) (?:unable|not able) to {_HELP}",
    r"\bi (?:must|have to|will have to) (?:decline|refuse)\b",
    rf"\ban? (?:ai|artificial intelligence|(?:large )?language model)\b[^.!?]{{0,80}}{_CANNOT}",
)
"""How refusals sound, in lower case with straight apostrophes."""


class Refusal(TextRule):
    """An answer declines: a phrase of a refusal stands near its beginning. English only.

    Severity info; keeps by default: in harmlessness data a chosen refusal is the point.
    """

    type: Literal["refusal"] = "refusal"
    severity = "info"
    action = "keep"
    head: int = Field(default=200, ge=1)
    """Characters at the start of an answer that are looked at."""
    phrases: tuple[str, ...] = Field(default=PHRASES, min_length=1)
    """Regular expressions, matched in lower case with straight apostrophes."""

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        sides = texts.select("pair_id", *(self.refuses(f"{side}_text").alias(side) for side in SIDES))
        chosen, rejected = (pl.col(side) for side in SIDES)
        return found(sides, chosen | rejected, which_sides(chosen, rejected) + " a refusal")

    def refuses(self, text: str) -> pl.Expr:
        """Whether the text in a column of this name declines."""
        head = pl.col(text).str.head(self.head).str.to_lowercase().str.replace_all("’", "'", literal=True)
        return head.str.contains("|".join(f"(?:{phrase})" for phrase in self.phrases))
