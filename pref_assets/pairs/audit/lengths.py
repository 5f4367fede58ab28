"""Rules on how long texts are."""

from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.audit.base import SIDES, TextRule, found


class OverLong(TextRule):
    """Prompt and longer answer together have more characters than a limit; for tokens see ``over_long_tokens``.

    Severity warning; keeps by default.
    """

    type: Literal["over_long"] = "over_long"
    severity = "warning"
    action = "keep"
    max_characters: int = Field(default=32_768, ge=1)
    """Most characters."""

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        answer = pl.max_horizontal(pl.col(f"{side}_text").str.len_chars() for side in SIDES)
        lengths = texts.select("pair_id", length=pl.col("prompt_text").str.len_chars().fill_null(0) + answer)
        detail = pl.format(
            "prompt and longer answer have {} characters, above {}", "length", pl.lit(self.max_characters)
        )
        return found(lengths, pl.col("length") > self.max_characters, detail)


class LengthGap(TextRule):
    """One answer is many times as long as the other, so that a model may learn length instead of quality.

    Severity info; keeps by default.
    """

    type: Literal["length_gap"] = "length_gap"
    severity = "info"
    action = "keep"
    ratio: float = Field(default=4.0, gt=1)
    """Flagged when the longer answer has at least this many times the characters of the shorter."""
    min_characters: int = Field(default=200, ge=0)
    """And at least this many more."""

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        counts = (pl.col(f"{side}_text").str.len_chars().cast(pl.Int64).alias(side) for side in SIDES)
        lengths = texts.select("pair_id", *counts)
        longer, shorter = pl.max_horizontal(*SIDES), pl.min_horizontal(*SIDES)
        far = (longer >= self.ratio * shorter) & (longer - shorter >= self.min_characters)
        return found(lengths, far, pl.format("the chosen answer has {} characters, the rejected one {}", *SIDES))
