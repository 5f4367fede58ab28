"""Rules on the two answers as texts: answers that say the same, nothing, or only the prompt again."""

from collections.abc import Callable
from typing import Literal

import polars as pl

from pref_assets.pairs.audit.base import TextRule, found, which_sides
from pref_assets.pairs.audit.texts import loose

_HEAD = 256
"""Characters compared before a text is normalised whole."""
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
"""Characters that show nothing and are no white space."""


class IdenticalSides(TextRule):
    """The two answers to one prompt are turn for turn the same: they carry no preference.

    Readers refuse such rows; the rule is there for tables that came another way. Severity error; drops by default.
    """

    type: Literal["identical_sides"] = "identical_sides"
    severity = "error"
    action = "drop"

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        same = (pl.col("chosen_id") == pl.col("rejected_id")) | (pl.col("chosen") == pl.col("rejected"))
        return found(texts, pl.col("prompt_id").is_not_null() & same, pl.lit("the two answers are the same"))


class EqualUpToSpaceOrCase(TextRule):
    """The two answers to one prompt differ in white space or in upper and lower case only.

    Severity warning; drops by default: hardly any objective should learn that difference.
    """

    type: Literal["equal_up_to_space_or_case"] = "equal_up_to_space_or_case"
    severity = "warning"
    action = "drop"

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        one_prompt = texts.filter(pl.col("prompt_id").is_not_null() & (pl.col("chosen") != pl.col("rejected")))
        near = one_prompt.select("pair_id", "chosen_text", "rejected_text")
        near = near.filter(_first(pl.col("chosen_text")) == _first(pl.col("rejected_text")))
        a, b = (_bare(pl.col(f"{side}_text").str.head(_HEAD)) for side in ("chosen", "rejected"))
        near = near.filter(a.str.starts_with(b) | b.str.starts_with(a))
        same = _bare(pl.col("chosen_text")) == _bare(pl.col("rejected_text"))
        return found(near, same, pl.lit("the answers differ in white space or case only"))


class EmptyAnswer(TextRule):
    """An answer holds nothing but white space or invisible characters.

    Severity error; goes to quarantine by default: it is often a failed generation, and sometimes a refusal to answer
    that was meant.
    """

    type: Literal["empty_answer"] = "empty_answer"
    severity = "error"
    action = "quarantine"

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        chosen, rejected = (
            pl.col(f"{side}_text").str.strip_chars().str.strip_chars(_INVISIBLE).str.strip_chars() == ""
            for side in ("chosen", "rejected")
        )
        return found(texts, chosen | rejected, which_sides(chosen, rejected) + " empty")


class PromptOnlyAnswer(TextRule):
    """An answer repeats the prompt, or its last turn, and says nothing else (up to white space and case).

    Severity error; goes to quarantine by default.
    """

    type: Literal["prompt_only_answer"] = "prompt_only_answer"
    severity = "error"
    action = "quarantine"

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        near = texts.select("pair_id", "prompt_text", "question", "chosen_text", "rejected_text")
        near = near.filter(self._repeats("chosen", _first) | self._repeats("rejected", _first))
        chosen, rejected = (self._repeats(side, loose) for side in ("chosen", "rejected"))
        return found(near, chosen | rejected, which_sides(chosen, rejected) + " the prompt again and nothing else")

    def _repeats(self, side: str, form: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
        answer = form(pl.col(f"{side}_text"))
        same = pl.any_horizontal(answer == form(pl.col(asked)) for asked in ("prompt_text", "question"))
        return (same & (answer != "")).fill_null(False)


def _first(text: pl.Expr) -> pl.Expr:
    """The first visible character in lower case: texts that part there need no closer look."""
    return text.str.strip_chars_start().str.head(1).str.to_lowercase().str.head(1)


def _bare(text: pl.Expr) -> pl.Expr:
    """The text in lower case without any white space; the Greek letter that depends on its place is made one."""
    return text.str.replace_all(r"\s", "").str.to_lowercase().str.replace_all("ς", "σ", literal=True)
