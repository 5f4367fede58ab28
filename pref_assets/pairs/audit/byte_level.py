"""Bounds on token counts that need no tokenising."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl

from pref_assets.models.reference import identity
from pref_assets.pairs.audit.template import TemplateRefusesError, render, tokenizer_of
from pref_assets.pairs.messages import JSON, TOOLS


@dataclass(frozen=True)
class ByteLevel:
    """A tokenizer of bytes that changes nothing: each token covers at least one byte of the text, and different texts
    have different tokens."""

    overhead: int
    """Bytes that the chat template adds to a conversation of three turns; more than to any one."""
    unknown: str
    """Regular expression of the characters that have no token (and vanish); empty when every one has."""

    def most_tokens(self, part: str) -> pl.Expr:
        """Upper bound of the tokens of a part of ``TEXTS``."""
        return pl.col(f"{part}_text").str.len_bytes().cast(pl.Int64) + self.overhead * pl.col(part).list.len()

    def not_bounded(self) -> pl.Expr:
        """Rows of ``TEXTS`` for which the bounds need not hold: turns that are more than a text, answers of several
        turns, reasoning (which templates leave out), and characters without a token."""
        rows = []
        for part in ("prompt", "chosen", "rejected"):
            role = pl.element().struct.field("role")
            rows.append(pl.col(part).list.eval(role.str.ends_with(JSON) | (role == TOOLS)).list.any())
            rows.append(pl.col(f"{part}_text").str.contains("</think>", literal=True))
            if self.unknown:
                rows.append(pl.col(f"{part}_text").str.contains(self.unknown))
            if part != "prompt":
                rows.append(pl.col(part).list.len() != 1)
        return pl.any_horizontal(rows)


def byte_level(reference: str) -> ByteLevel | None:
    """What is known of a model's tokenizer; null where it is not of this kind, so that nothing short of tokenising
    tells.

    Raises:
        ValueError: the chat template does not write a plain question and its answer as such.
    """
    return _known(reference, identity(reference))


@lru_cache(maxsize=4)
def _known(reference: str, identity: str) -> ByteLevel | None:
    tokenizer = tokenizer_of(reference)
    overhead = _overhead(tokenizer)
    if not tokenizer.is_fast:
        return None
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    if parts["normalizer"] is not None or parts["model"]["type"] != "BPE" or not _is_byte_level(parts["pre_tokenizer"]):
        return None
    unknown = _unknown(parts["model"]["vocab"])
    return None if unknown is None else ByteLevel(overhead, unknown)


def _overhead(tokenizer: Any) -> int:
    user, assistant = ({"role": role, "content": ""} for role in ("user", "assistant"))
    try:
        written = render(tokenizer, [user, assistant, user], [[assistant]])
    except TemplateRefusesError as error:
        raise ValueError(
            f"the tokenizer's chat template does not render a conversation as prompt and answer: {error}"
        ) from error
    return sum(len(text.encode()) for text in written)


def _is_byte_level(pre_tokenizer: Any) -> bool:
    """Whether the text is cut into bytes with nothing added or left out."""
    if pre_tokenizer is None:
        return False
    steps = pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    lossless = all(
        step["type"] == "Digits"
        or (step["type"] == "Split" and step["behavior"] != "Removed")
        or (step["type"] == "ByteLevel" and not step["add_prefix_space"])
        for step in steps
    )
    return lossless and any(step["type"] == "ByteLevel" for step in steps)


def _unknown(vocabulary: dict[str, int]) -> str | None:
    """Characters with a byte that has no token, as a regular expression; null when a trailing byte has none."""
    missing = [byte for byte, letter in _letters().items() if letter not in vocabulary]
    if any(0x80 <= byte < 0xC0 for byte in missing):
        return None
    ranges = [place for byte in missing for place in _characters(byte)]
    return "[" + "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in ranges) + "]" if ranges else ""


def _characters(lead: int) -> list[tuple[int, int]]:
    """First and last code point of the characters whose UTF-8 begins with the byte; none where no character's does."""
    if lead < 0x80:
        return [(lead, lead)]
    if 0xC2 <= lead < 0xE0:
        return [((lead & 0x1F) << 6, ((lead & 0x1F) << 6) + 0x3F)]
    if 0xE0 <= lead < 0xF0:
        first = (lead & 0x0F) << 12
        return [(max(first, 0x800), 0xD7FF if lead == 0xED else first + 0xFFF)]
    if 0xF0 <= lead < 0xF5:
        first = (lead & 0x07) << 18
        return [(max(first, 0x10000), min(first + 0x3FFFF, 0x10FFFF))]
    return []


def _letters() -> dict[int, str]:
    """The printable letter that stands for each byte in a byte-level vocabulary (Radford et al. 2019): printable
    Latin-1 bytes stand for themselves, the others for the letters from U+0100 on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {**{byte: chr(byte) for byte in own}, **{byte: chr(256 + place) for place, byte in enumerate(others)}}
