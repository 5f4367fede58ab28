"""Rules on how texts are written, whatever they say."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.audit.base import TextRule, found

_ELEMENT = r"(?m)^[ \t]*(?:[-*+•] |\d{1,3}[.)] |#{1,6} |\||```)"
"""A line of a list, a heading, a table, or a code fence."""
_BOLD = r"\*\*[^*\n]+\*\*"


class FormatGap(TextRule):
    """One answer is set in Markdown (lists, headings, tables, code fences, bold) and the other is plain, so that a
    model may learn the dress (Zhang et al. 2024, arXiv:2409.11704).

    Severity info; keeps by default.
    """

    type: Literal["format_gap"] = "format_gap"
    severity = "info"
    action = "keep"
    min_elements: int = Field(default=3, ge=1)
    """Flagged when one answer has at least this many marks (marked lines, bold passages) and the other none."""

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        counts = texts.select("pair_id", *(_marks(f"{side}_text").alias(side) for side in ("chosen", "rejected")))
        most, least = pl.max_horizontal("chosen", "rejected"), pl.min_horizontal("chosen", "rejected")
        detail = pl.format("the chosen answer has {} marks of Markdown, the rejected one {}", "chosen", "rejected")
        return found(counts, (most >= self.min_elements) & (least == 0), detail)


def _marks(text: str) -> pl.Expr:
    return pl.col(text).str.count_matches(_ELEMENT) + pl.col(text).str.count_matches(_BOLD)
