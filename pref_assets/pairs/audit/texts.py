"""The texts that rules look at, made once a chunk: what is said in a conversation, without roles."""

import polars as pl

from pref_assets.pairs.messages import JSON, TOOLS, readable
from pref_assets.pairs.schema import PAIR_TEXTS

TEXTS = pl.Schema(
    [*PAIR_TEXTS.items(), *((name, pl.String) for name in ("prompt_text", "chosen_text", "rejected_text", "question"))]
)
"""``PAIR_TEXTS`` and what is said: the turns' texts, one below the other; ``question`` is the prompt's last turn.
Prompt columns are null where the sides answer different prompts."""

_SPACE = r"\s{2,}|[^\S ]"
"""Runs of white space and white space that is no blank: faster to find than every single blank."""


def with_texts(chunk: pl.DataFrame) -> pl.DataFrame:
    """``PAIR_TEXTS`` as ``TEXTS``."""
    said = [_said(chunk[name]).alias(f"{name}_text") for name in ("prompt", "chosen", "rejected")]
    question = _said(chunk["prompt"].list.tail(1)).alias("question")
    return chunk.with_columns(*said, question)


def loose(text: pl.Expr) -> pl.Expr:
    """The text in lower case with every run of white space as one blank and none at its ends."""
    return text.str.replace_all(_SPACE, " ").str.strip_chars().str.to_lowercase()


def _said(messages: pl.Series) -> pl.Series:
    """Text of the turns, joined by line breaks; of a turn that holds more than text, what is `readable`."""
    frame = messages.alias("m").to_frame()
    turns = pl.col("m").list
    role = pl.element().struct.field("role")
    lengths = frame.select(most=turns.len().max()).item()
    if lengths is None or lengths <= 1:
        special = turns.first().struct.field("role").pipe(_special)
        text = turns.first().struct.field("content").fill_null("")
    else:
        special = turns.eval(_special(role)).list.any()
        text = turns.eval(pl.element().struct.field("content")).list.join("\n")
    frame = frame.select("m", special=special.fill_null(False), text=pl.when(pl.col("m").is_not_null()).then(text))
    if not frame["special"].any():
        return frame["text"]
    plain = [
        "\n".join(readable(turn["role"], turn["content"]) for turn in turns) if special else text
        for turns, special, text in frame.iter_rows()
    ]
    return pl.Series(plain, dtype=pl.String)


def _special(role: pl.Expr) -> pl.Expr:
    return role.str.ends_with(JSON) | (role == TOOLS)
