"""Text that is no text."""

import re
from typing import Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.audit.base import PARTS, TextRule, named, rows_found

_ODD = "[\\x00-\\x08\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f\ufdd0-\ufdef\ufffd-\uffff\ue000-\uf8ff\U000f0000-\U0010ffff]"
"""Control characters that are no white space, U+FFFD, noncharacters, private use."""
_RUN = "[A-Za-z0-9+/=_-]"


class NonText(TextRule):
    """A prompt or an answer holds what nobody wrote: control characters, U+FFFD (bytes that were no UTF-8), private
    code points, a long unbroken run of base64 characters, or something but no letter, digit or symbol.

    Severity warning; keeps by default.
    """

    type: Literal["non_text"] = "non_text"
    severity = "warning"
    action = "keep"
    max_run: int = Field(default=256, ge=16, le=1000)
    """Longest run of base64 characters (letters, digits, ``+/=_-``) that passes for text."""

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        mute, odd = [], []
        for part in PARTS:
            text = pl.col(f"{part}_text")
            mute.append((~text.str.contains(r"[\p{L}\p{N}\p{S}]") & text.str.contains(r"\S")).alias(f"{part}_mute"))
            odd.append(text.str.contains(f"{_ODD}|{_RUN}{{{self.max_run + 1}}}").alias(f"{part}_odd"))
        flagged = texts.select("pair_id", *(f"{part}_text" for part in PARTS), *mute, *odd)
        flagged = flagged.filter(pl.any_horizontal(pl.col("^.*_(mute|odd)$")).fill_null(False))
        return rows_found([(row["pair_id"], self._detail(row)) for row in flagged.iter_rows(named=True)])

    def _detail(self, row: dict[str, str | bool | None]) -> str:
        said = []
        for part in PARTS:
            if row[f"{part}_odd"]:
                said.append(f"{named(part)} {self._what(str(row[f'{part}_text']))}")
            elif row[f"{part}_mute"]:
                said.append(f"{named(part)} has no letter, digit or symbol")
        return "; ".join(said)

    def _what(self, text: str) -> str:
        odd = list(re.finditer(_ODD, text))
        if odd:
            first = f"U+{ord(odd[0][0]):04X} at character {odd[0].start() + 1}"
            return f"has {len(odd)} characters that are no text, the first {first}"
        runs = re.finditer(f"{_RUN}{{{self.max_run + 1},}}", text)
        run = next(runs)
        return f"has {run.end() - run.start()} characters without a break from character {run.start() + 1} on"
