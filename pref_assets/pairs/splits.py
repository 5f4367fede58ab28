"""Splits by prompt, decided by content alone: more data never moves a prompt to another split."""

import hashlib
from collections.abc import Iterator
from itertools import repeat

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pairs.texts import text_of
from pref_assets.settings import Settings

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_BYTES = 8
_ASCII = bytes(ord(chr(byte).lower()) if byte < 0x80 and chr(byte).isalnum() else 0x20 for byte in range(0x100))
"""Letters and digits of ASCII in lower case; white space for all else."""


class Splits(Settings):
    """Shares of prompts. Prompts that differ only in case, punctuation or white space fall into the same split.

    The same words about other images are another prompt; of prompts that show the same image the first decides for all
    (`duplicates.images`).
    """

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
        """The frame with a column ``split``; it needs a column ``messages``, and ``images`` where there may be some."""
        texts = prompts.select(text_of("messages").fill_null("")).to_series()
        places = self._places(texts, prompts["images"] if "images" in prompts.columns else None)
        # Test and validation lie at opposite ends, so that changing one share leaves the other split as it was.
        split = (
            pl.when(places < self.test)
            .then(pl.lit(TEST))
            .when(places >= 1 - self.validation)
            .then(pl.lit(VALIDATION))
            .otherwise(pl.lit(TRAIN))
        )
        return prompts.with_columns(split=split)

    def _places(self, texts: pl.Series, images: pl.Series | None) -> pl.Series:
        """Place of each prompt's group in [0, 1), uniform over groups."""
        seed = b"%d:" % self.seed
        seen = repeat(None, len(texts)) if images is None else images.to_list()
        groups = (
            group + b"".join(b"\0" + uri.encode() for uri in uris or ())
            for group, uris in zip(_groups(texts), seen, strict=True)
        )
        digests = [hashlib.sha256(seed + group).digest() for group in groups]
        places = [int.from_bytes(digest[:_BYTES]) / 2 ** (8 * _BYTES) for digest in digests]
        return pl.Series("place", places, dtype=pl.Float64)


def _groups(texts: pl.Series) -> Iterator[bytes]:
    """Words of each text in lower case; the text itself where it has none."""
    beyond_ascii = texts.str.len_bytes() != texts.str.len_chars()
    words = iter(_words(texts.filter(beyond_ascii)))
    for text in texts:
        # Replacing bytes is several times faster than a regular expression, and says the same of ASCII.
        found = _ascii_words(text) if text.isascii() else next(words).encode()
        yield found or text.encode()


def _ascii_words(text: str) -> bytes:
    spaced = text.encode().translate(_ASCII)
    while b"  " in spaced:
        spaced = spaced.replace(b"  ", b" ")
    return spaced.strip()


def _words(texts: pl.Series) -> pl.Series:
    return texts.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
