"""Splits by prompt, decided by content alone: more data never moves a prompt to another split."""

import hashlib

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pairs.texts import text_of
from pref_assets.settings import Settings

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_BYTES = 8


class Splits(Settings):
    """Shares of prompts. Prompts that differ only in case, punctuation or white space fall into the same split."""

    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of prompts for choosing between methods."""
    test: float = Field(default=0.1, ge=0, lt=1)
    """Share of prompts for the final figures."""
    seed: int = Field(default=0, ge=0)
    """Another seed deals the prompts anew."""

    @model_validator(mode="after")
    def _leaves_train(self) -> "Splits":
        if self.validation + self.test >= 1:
            raise ValueError(f"validation ({self.validation}) and test ({self.test}) leave nothing to train on")
        return self

    def assign(self, prompts: pl.DataFrame) -> pl.DataFrame:
        """The frame with a column ``split``; it needs a column ``messages``."""
        groups = prompts.select(_group()).to_series()
        places = pl.Series("place", [self._place(group) for group in groups], dtype=pl.Float64)
        # Test and validation lie at opposite ends, so that changing one share leaves the other split as it was.
        split = (
            pl.when(places < self.test)
            .then(pl.lit(TEST))
            .when(places >= 1 - self.validation)
            .then(pl.lit(VALIDATION))
            .otherwise(pl.lit(TRAIN))
        )
        return prompts.with_columns(split=split)

    def _place(self, group: str) -> float:
        """Place of a group in [0, 1), uniform over groups."""
        digest = hashlib.sha256(f"{self.seed}:{group}".encode()).digest()
        return int.from_bytes(digest[:_BYTES]) / 2 ** (8 * _BYTES)


def _group() -> pl.Expr:
    """Words of the prompt in lower case; the text itself where it has none."""
    text = text_of("messages")
    words = text.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    return pl.when(words == "").then(text).otherwise(words)
