"""What training at a given length leaves of a pair."""

from collections.abc import Iterator
from typing import Any, Literal

import polars as pl
from pydantic import Field

from pref_assets.models.reference import ModelReference, identity
from pref_assets.pairs.audit.base import SIDES, TextRule, rows_found
from pref_assets.pairs.audit.byte_level import ByteLevel, byte_level
from pref_assets.pairs.audit.template import TemplateRefusesError, render, tokenizer_of


class Tokenised(TextRule):
    """Judges a pair by its tokens. Prompt and answers are written with the tokenizer's chat template (plain text where
    it has none) and tokenised apart, as for training. Pairs whose sides answer different prompts, and those that the
    template refuses (see ``chat_template_round_trip``), are left alone.

    Most pairs are settled by counting bytes: a token of a byte-level tokenizer covers at least one.
    """

    costly = True
    tokenizer: ModelReference
    """Model whose tokenizer and chat template count."""
    max_length: int = Field(default=1024, ge=1)
    """Tokens of prompt and answer together."""
    chunk: int = Field(default=2048, ge=1)
    """Pairs tokenised at a time, which bounds memory."""

    def version(self) -> list[Any]:
        return [*super().version(), identity(self.tokenizer)]

    def find(self, texts: pl.DataFrame) -> pl.DataFrame:
        tokenizer = tokenizer_of(self.tokenizer)
        pairs = texts.filter(pl.col("prompt_id").is_not_null())
        bounds = byte_level(self.tokenizer)
        if bounds is not None:
            pairs = pairs.filter(self._may_be_flagged(bounds) | bounds.not_bounded())
        rows: list[tuple[str, str]] = []
        for chunk in pairs.select("pair_id", "prompt", *SIDES).iter_slices(self.chunk):
            rows += self._find(chunk, tokenizer)
        return rows_found(rows)

    def _find(self, chunk: pl.DataFrame, tokenizer: Any) -> Iterator[tuple[str, str]]:
        pairs: list[str] = []
        written: list[str] = []
        for pair, prompt, *answers in chunk.iter_rows():
            try:
                written += render(tokenizer, prompt, answers)
            except TemplateRefusesError:
                continue
            pairs.append(pair)
        tokens = tokenizer(written, add_special_tokens=False, verbose=False)["input_ids"] if written else []
        for index, pair in enumerate(pairs):
            detail = self._judge(*tokens[3 * index : 3 * index + 3])
            if detail:
                yield pair, detail

    def _judge(self, prompt: list[int], chosen: list[int], rejected: list[int]) -> str | None:
        """What is wrong with the pair once cut, given its tokens."""
        raise NotImplementedError

    def _may_be_flagged(self, bounds: ByteLevel) -> pl.Expr:
        """False only for rows of ``TEXTS`` that `_judge` finds nothing wrong with, where the bounds hold."""
        raise NotImplementedError


class Truncated(Tokenised):
    """Judges a pair by what is left of it once it is cut to ``max_length``."""

    truncation: Literal["prompt_first", "keep_start", "keep_end"] = "prompt_first"
    """What a sequence above ``max_length`` loses. ``prompt_first``: the start of its prompt down to ``min_prompt``
    tokens, then the end of its answer, as this project trains; ``keep_start``: its end (TRL's default); ``keep_end``:
    its start."""
    min_prompt: int = Field(default=16, ge=0)
    """Prompt tokens that ``prompt_first`` leaves."""


class IdenticalAfterTruncation(Truncated):
    """The two answers are the same tokens once cut to the length that a model trains on: they carry no preference.

    Severity error; drops by default.
    """

    type: Literal["identical_after_truncation"] = "identical_after_truncation"
    severity = "error"
    action = "drop"

    def _judge(self, prompt: list[int], chosen: list[int], rejected: list[int]) -> str | None:
        left = self._kept(len(prompt), chosen)
        if left != self._kept(len(prompt), rejected):
            return None
        lengths = f"{len(prompt)} tokens of prompt and {len(chosen)} and {len(rejected)} of answers"
        return f"of {lengths}, {self.max_length} are kept, and the answers keep the same {len(left)}"

    def _kept(self, n_prompt: int, answer: list[int]) -> list[int]:
        """Tokens of the answer that truncation leaves."""
        if self.truncation == "keep_end":
            return answer[-self.max_length :]
        cut = min(n_prompt, self.min_prompt) if self.truncation == "prompt_first" else n_prompt
        return answer[: max(0, self.max_length - cut)]

    def _may_be_flagged(self, bounds: ByteLevel) -> pl.Expr:
        # Answers that keep the same n tokens begin (or end) with the same n bytes, template included.
        room = pl.lit(self.max_length - bounds.overhead)
        if self.truncation == "prompt_first":
            room = room - self.min_prompt
        elif self.truncation == "keep_start":
            room = room - bounds.most_tokens("prompt")
        room = room.clip(lower_bound=0)
        same = []
        for strip in (False, True):
            chosen, rejected = (_bytes(f"{side}_text", strip) for side in SIDES)
            if self.truncation == "keep_end":
                same.append(chosen.bin.tail(room) == rejected.bin.tail(room))
            else:
                same.append(chosen.bin.head(room) == rejected.bin.head(room))
        return pl.any_horizontal(same)


class PromptTruncatedAway(Truncated):
    """Little of the prompt is left once the sequence with its longer answer is cut: the model learns an answer to a
    question that it does not see.

    Severity warning; keeps by default.
    """

    type: Literal["prompt_truncated_away"] = "prompt_truncated_away"
    severity = "warning"
    action = "keep"
    min_share: float = Field(default=0.5, gt=0, le=1)
    """Smallest share of the prompt's tokens that must be left."""

    def _judge(self, prompt: list[int], chosen: list[int], rejected: list[int]) -> str | None:
        n_prompt, n_answer = len(prompt), max(len(chosen), len(rejected))
        room = self.max_length if self.truncation == "keep_start" else self.max_length - n_answer
        least = min(n_prompt, self.min_prompt) if self.truncation == "prompt_first" else 0
        left = min(n_prompt, max(room, least))
        if left >= self.min_share * n_prompt:
            return None
        return (
            f"of {n_prompt} tokens of prompt {left} are left beside {n_answer} of answer, of {self.max_length} in all"
        )

    def _may_be_flagged(self, bounds: ByteLevel) -> pl.Expr:
        asked = self.min_share * bounds.most_tokens("prompt")
        if self.truncation == "keep_start":
            return asked > self.max_length
        answers = pl.max_horizontal(bounds.most_tokens(side) for side in SIDES)
        return asked + answers > self.max_length


class OverLongTokens(Tokenised):
    """Prompt and longer answer together have more tokens than a limit, so that training cuts them.

    Severity info; keeps by default.
    """

    type: Literal["over_long_tokens"] = "over_long_tokens"
    severity = "info"
    action = "keep"

    def _judge(self, prompt: list[int], chosen: list[int], rejected: list[int]) -> str | None:
        length = len(prompt) + max(len(chosen), len(rejected))
        if length <= self.max_length:
            return None
        return f"prompt and longer answer have {length} tokens, above {self.max_length}"

    def _may_be_flagged(self, bounds: ByteLevel) -> pl.Expr:
        answers = pl.max_horizontal(bounds.most_tokens(side) for side in SIDES)
        return bounds.most_tokens("prompt") + answers > self.max_length


def _bytes(text: str, strip: bool) -> pl.Expr:
    # Templates write a text as it is or without white space at its ends.
    said = pl.col(text).str.strip_chars() if strip else pl.col(text)
    return said.cast(pl.Binary)
