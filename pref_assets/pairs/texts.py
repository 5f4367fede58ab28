"""Conversations as text, for people, embedders and previews."""

from collections.abc import Iterable, Mapping

import polars as pl


def prompt_text(messages: Iterable[Mapping[str, str]]) -> str:
    """One turn as its content; several as ``role: content`` with a blank line between."""
    turns = list(messages)
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def text_of(column: str) -> pl.Expr:
    """The same as `prompt_text`, as an expression over a ``MESSAGES`` column."""
    turn = pl.element().struct
    lines = pl.col(column).list.eval(pl.concat_str(turn.field("role"), pl.lit(": "), turn.field("content")))
    only = pl.col(column).list.first().struct.field("content")
    return pl.when(pl.col(column).list.len() == 1).then(only).otherwise(lines.list.join("\n\n"))


def compared(completions: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The completions that some pair compares; those left over answer prompts that gave no comparison."""
    sides = pl.concat([pairs.select(completion_id=side) for side in ("chosen_id", "rejected_id")])
    return completions.join(sides.unique(), on="completion_id", how="semi", maintain_order="left")


def with_texts(pairs: pl.DataFrame, prompts: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """The pairs in their order with text columns ``prompt`` (null when the sides answer different prompts), ``chosen``
    and ``rejected``."""
    said = prompts.select("prompt_id", prompt=text_of("messages"))
    answers = completions.select("completion_id", text=text_of("messages"))
    frame = pairs.join(said, on="prompt_id", how="left", maintain_order="left")
    for side in ("chosen", "rejected"):
        named = answers.rename({"completion_id": f"{side}_id", "text": side})
        frame = frame.join(named, on=f"{side}_id", how="left", maintain_order="left")
    return frame
