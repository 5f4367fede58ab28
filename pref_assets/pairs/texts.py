"""Conversations as text, for people, embedders and previews."""

from collections.abc import Callable, Iterable, Mapping

import polars as pl

from pref_assets.pairs.messages import JSON, TOOLS, base_role, readable


def prompt_text(messages: Iterable[Mapping[str, str]]) -> str:
    """One turn as its content; several as ``role: content`` with a blank line between. Of a turn that holds more than
    text, what it says (`messages.readable`)."""
    turns = list(messages)
    if len(turns) == 1:
        return readable(turns[0]["role"], turns[0]["content"])
    return "\n\n".join(f"{base_role(turn['role'])}: {readable(turn['role'], turn['content'])}" for turn in turns)


def content_text(messages: Iterable[Mapping[str, str]]) -> str:
    """What the turns say with a blank line between, without their roles."""
    return "\n\n".join(readable(turn["role"], turn["content"]) for turn in messages)


def text_of(column: str) -> pl.Expr:
    """The same as `prompt_text`, as an expression over a ``MESSAGES`` column."""
    turn = pl.element().struct
    lines = pl.col(column).list.eval(pl.concat_str(turn.field("role"), pl.lit(": "), turn.field("content")))
    only = pl.col(column).list.first().struct.field("content")
    plain = pl.when(pl.col(column).list.len() == 1).then(only).otherwise(lines.list.join("\n\n"))
    return _where_plain(column, plain, prompt_text)


def contents_of(column: str) -> pl.Expr:
    """The same as `content_text`, as an expression over a ``MESSAGES`` column."""
    plain = pl.col(column).list.eval(pl.element().struct.field("content")).list.join("\n\n")
    return _where_plain(column, plain, content_text)


def _where_plain(column: str, plain: pl.Expr, text: Callable[[list[dict[str, str]]], str]) -> pl.Expr:
    """``plain`` for conversations of plain turns, ``text`` of the others, which are few and cost a Python call each."""

    def texts(turns: pl.Series) -> pl.Series:
        frame = turns.alias(column).to_frame()
        role = pl.element().struct.field("role")
        rich = pl.col(column).list.eval((role == TOOLS) | role.str.ends_with(JSON)).list.any()
        said, more = frame.select(plain.alias("said"), rich.fill_null(value=False).alias("more")).get_columns()
        if not more.any():
            return said
        places = more.arg_true()
        return said.scatter(places, [text(messages) for messages in turns.gather(places).to_list()])

    return pl.col(column).map_batches(texts, return_dtype=pl.String, is_elementwise=True)


def compared(completions: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The completions that some pair compares; those left over answer prompts that gave no comparison."""
    sides = pl.concat([pairs.select(completion_id=side) for side in ("chosen_id", "rejected_id")])
    return completions.join(sides.unique(), on="completion_id", how="semi", maintain_order="left")


def conversation_texts(completions: pl.DataFrame, prompts: pl.DataFrame) -> pl.DataFrame:
    """Frame (id, text): every completion's prompt and answer with a blank line between, without roles."""
    turns = contents_of("messages")
    answers = completions.select("prompt_id", id="completion_id", text=turns)
    said = answers.join(prompts.select("prompt_id", prompt=turns), on="prompt_id", how="left", maintain_order="left")
    return said.select("id", text=pl.format("{}\n\n{}", pl.col("prompt").fill_null(""), "text"))


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
