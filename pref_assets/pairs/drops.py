"""Rules that drop settled pairs, each with a reason."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from pref_assets.models.reference import ModelReference
from pref_assets.pairs.texts import prompt_text
from pref_assets.settings import Settings

_FOUND = pl.Schema({"pair_id": pl.String, "code": pl.String, "reason": pl.String})


class IdenticalAfterTruncation(Settings):
    """Drops pairs whose sides are the same tokens once cut to the length that a model trains on: they carry no
    preference. Text and tokens are those of the tokenizer's chat template, or plain text where it has none."""

    type: Literal["identical_after_truncation"] = "identical_after_truncation"
    tokenizer: ModelReference
    """Model whose tokenizer and chat template count."""
    max_length: int = Field(default=1024, ge=1)
    """Tokens of prompt and completion together."""
    truncation: Literal["keep_start", "keep_end"] = "keep_start"
    """Which end survives."""
    chunk: int = Field(default=2048, ge=1)
    """Pairs tokenised at a time, which bounds memory."""

    def find(self, pairs: pl.DataFrame, prompts: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
        """Pairs to drop, as pair_id, code and reason.

        Args:
            pairs: pair_id, prompt_id, chosen_id, rejected_id.
            prompts, completions: with ``messages`` of every prompt and completion of these pairs. Pairs whose sides
                answer different prompts are looked at with their own prompts.
        """
        from pref_assets.models.loading import load_tokenizer

        tokenizer = load_tokenizer(self.tokenizer)
        found: list[tuple[str, str, str]] = []
        for chunk in _with_messages(pairs, prompts, completions).iter_slices(self.chunk):
            found += self._find(chunk, tokenizer)
        return pl.DataFrame(found, schema=_FOUND, orient="row")

    def _find(self, chunk: pl.DataFrame, tokenizer: Any) -> Iterator[tuple[str, str, str]]:
        texts = [
            _rendered(tokenizer, prompt, answer)
            for _, prompt_a, chosen, prompt_b, rejected in chunk.iter_rows()
            for prompt, answer in ((prompt_a, chosen), (prompt_b, rejected))
        ]
        tokens = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        where = "first" if self.truncation == "keep_start" else "last"
        for index, pair in enumerate(chunk["pair_id"]):
            chosen, rejected = tokens[2 * index], tokens[2 * index + 1]
            if self._cut(chosen) == self._cut(rejected):
                lengths = f"{len(chosen)} and {len(rejected)}"
                reason = f"of {lengths} tokens, the {where} {self.max_length} are the same ({self.tokenizer})"
                yield pair, self.type, reason

    def _cut(self, tokens: list[int]) -> list[int]:
        return tokens[: self.max_length] if self.truncation == "keep_start" else tokens[-self.max_length :]


DropConfig = Annotated[IdenticalAfterTruncation, Field()]


def _with_messages(pairs: pl.DataFrame, prompts: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """pair_id, then prompt and answer turns of the chosen and of the rejected side."""
    asked = prompts.select("prompt_id", prompt="messages")
    answers = completions.select("completion_id", "prompt_id", answer="messages").join(asked, on="prompt_id")
    frame = pairs.select("pair_id", "chosen_id", "rejected_id").sort("pair_id")
    for side in ("chosen", "rejected"):
        named = answers.select(
            pl.col("completion_id").alias(f"{side}_id"),
            pl.col("prompt").alias(f"{side}_prompt"),
            pl.col("answer").alias(side),
        )
        frame = frame.join(named, on=f"{side}_id", how="left", maintain_order="left")
    return frame.select("pair_id", "chosen_prompt", "chosen", "rejected_prompt", "rejected")


def _rendered(tokenizer: Any, prompt: list[dict[str, str]], answer: list[dict[str, str]]) -> str:
    if tokenizer.chat_template is None:
        return prompt_text(prompt) + prompt_text(answer)
    text: str = tokenizer.apply_chat_template(prompt + answer, tokenize=False)
    return text
