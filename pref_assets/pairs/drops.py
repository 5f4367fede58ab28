"""Rules that drop settled pairs, each with a reason."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from pref_assets.models.reference import ModelReference
from pref_assets.pairs.texts import prompt_text
from pref_assets.settings import Settings

Message = dict[str, str]
_FOUND = pl.Schema({"pair_id": pl.String, "code": pl.String, "reason": pl.String})


class IdenticalAfterTruncation(Settings):
    """Drops pairs whose answers are the same tokens once cut to the length that a model trains on: they carry no
    preference. Prompt and answer are rendered with the tokenizer's chat template (plain text where it has none) and
    tokenised apart, as for training. Pairs whose sides answer different prompts are left alone."""

    type: Literal["identical_after_truncation"] = "identical_after_truncation"
    tokenizer: ModelReference
    """Model whose tokenizer and chat template count."""
    max_length: int = Field(default=1024, ge=1)
    """Tokens of prompt and answer together."""
    truncation: Literal["prompt_first", "keep_start", "keep_end"] = "prompt_first"
    """What a sequence above ``max_length`` loses. ``prompt_first``: the start of its prompt down to ``min_prompt``
    tokens, then the end of its answer, as this project trains; ``keep_start``: its end (TRL's default); ``keep_end``:
    its start."""
    min_prompt: int = Field(default=16, ge=0)
    """Prompt tokens that ``prompt_first`` leaves."""
    chunk: int = Field(default=2048, ge=1)
    """Pairs tokenised at a time, which bounds memory."""

    def find(self, pairs: pl.DataFrame, prompts: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
        """Pairs to drop, as pair_id, code and reason.

        Args:
            pairs: pair_id, prompt_id, chosen_id, rejected_id.
            prompts, completions: with ``messages`` of every prompt and completion of these pairs.
        """
        from pref_assets.models.loading import load_tokenizer

        tokenizer = load_tokenizer(self.tokenizer)
        found: list[tuple[str, str, str]] = []
        for chunk in _with_messages(pairs, prompts, completions).iter_slices(self.chunk):
            found += self._find(chunk, tokenizer)
        return pl.DataFrame(found, schema=_FOUND, orient="row")

    def _find(self, chunk: pl.DataFrame, tokenizer: Any) -> Iterator[tuple[str, str, str]]:
        texts = [text for _, *turns in chunk.iter_rows() for text in _rendered(tokenizer, *turns)]
        tokens = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        for index, pair in enumerate(chunk["pair_id"]):
            prompt, chosen, rejected = tokens[3 * index : 3 * index + 3]
            left = self._kept(len(prompt), chosen)
            if left == self._kept(len(prompt), rejected):
                lengths = f"{len(prompt)} tokens of prompt and {len(chosen)} and {len(rejected)} of answers"
                reason = f"of {lengths}, {self.max_length} are kept, and the answers keep the same {len(left)}"
                yield pair, self.type, reason

    def _kept(self, n_prompt: int, answer: list[int]) -> list[int]:
        """Tokens of the answer that truncation leaves."""
        if self.truncation == "keep_end":
            return answer[-self.max_length :]
        cut = min(n_prompt, self.min_prompt) if self.truncation == "prompt_first" else n_prompt
        return answer[: max(0, self.max_length - cut)]


DropConfig = Annotated[IdenticalAfterTruncation, Field()]


def _with_messages(pairs: pl.DataFrame, prompts: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """pair_id and the turns of prompt, chosen and rejected, for pairs of one prompt."""
    asked = prompts.select("prompt_id", prompt="messages")
    frame = pairs.select("pair_id", "prompt_id", "chosen_id", "rejected_id").sort("pair_id")
    frame = frame.join(asked, on="prompt_id", how="inner", maintain_order="left")
    for side in ("chosen", "rejected"):
        answers = completions.select(pl.col("completion_id").alias(f"{side}_id"), pl.col("messages").alias(side))
        frame = frame.join(answers, on=f"{side}_id", how="inner", maintain_order="left")
    return frame.select("pair_id", "prompt", "chosen", "rejected")


def _rendered(tokenizer: Any, prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> list[str]:
    """Text of the prompt, and what each answer adds to it."""
    if tokenizer.chat_template is None:
        return [prompt_text(prompt), prompt_text(chosen), prompt_text(rejected)]
    before: str = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    texts = [tokenizer.apply_chat_template(prompt + answer, tokenize=False) for answer in (chosen, rejected)]
    if not all(text.startswith(before) for text in texts):
        raise ValueError("the tokenizer's chat template does not render a conversation as prompt and answer")
    return [before, *(text[len(before) :] for text in texts)]
