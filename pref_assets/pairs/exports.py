"""Pairs in TRL's formats, ready for other tools; what is written here reads back to the same ids."""

import re
from pathlib import Path
from typing import Literal

import polars as pl

_MARKER = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS = {"user": "Human", "assistant": "Assistant"}

PromptFormat = Literal["explicit", "implicit"]
Style = Literal["conversational", "standard"]


def trl_rows(
    pairs: pl.DataFrame,
    prompts: pl.DataFrame,
    completions: pl.DataFrame,
    prompt: PromptFormat = "explicit",
    style: Style = "conversational",
    margin: bool = False,
) -> pl.DataFrame:
    """One row a pair, in the order of ``pairs``.

    - conversational, explicit: ``prompt``, ``chosen``, ``rejected``, each a list of ``{role, content}``;
    - conversational, implicit: ``chosen``, ``rejected``, each the whole dialogue;
    - standard, explicit: the three as text; only for pairs of one question and one answer;
    - standard, implicit: ``chosen``, ``rejected`` as HH-RLHF transcripts, which keep the turns (read them back with the
      ``hh_rlhf`` reader).

    ``margin`` adds the pair's strength under that name.

    Raises:
        ValueError: the format cannot hold a pair, or a margin is asked for and a pair has none; names the first pair.
    """
    frame = _with_messages(pairs, prompts, completions)
    if margin:
        _refuse(frame.filter(pl.col("strength").is_null()), "has no strength to write as margin")
    if style == "conversational":
        rows = _conversational(frame, prompt)
    elif prompt == "explicit":
        rows = _texts(frame)
    else:
        rows = _transcripts(frame)
    return rows.with_columns(frame["strength"].alias("margin")) if margin else rows


def write_rows(rows: pl.DataFrame, path: Path) -> None:
    """Writes rows as ``.jsonl`` or ``.parquet``; the file appears whole or not at all.

    Raises:
        ValueError: the path ends otherwise.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    if path.suffix == ".jsonl":
        rows.write_ndjson(temporary)
    elif path.suffix == ".parquet":
        rows.write_parquet(temporary)
    else:
        raise ValueError(f"{path}: pairs are written as .jsonl or .parquet")
    temporary.replace(path)


def _with_messages(pairs: pl.DataFrame, prompts: pl.DataFrame, completions: pl.DataFrame) -> pl.DataFrame:
    frame = pairs.select("pair_id", "prompt_id", "chosen_id", "rejected_id", "strength")
    _refuse(frame.filter(pl.col("prompt_id").is_null()), "compares answers to two prompts")
    asked = prompts.select("prompt_id", prompt="messages")
    frame = frame.join(asked, on="prompt_id", how="left", maintain_order="left")
    for side in ("chosen", "rejected"):
        answers = completions.select(pl.col("completion_id").alias(f"{side}_id"), pl.col("messages").alias(side))
        frame = frame.join(answers, on=f"{side}_id", how="left", maintain_order="left")
    return frame


def _conversational(frame: pl.DataFrame, prompt: PromptFormat) -> pl.DataFrame:
    if prompt == "explicit":
        return frame.select("prompt", "chosen", "rejected")
    return frame.select(pl.col("prompt").list.concat(side).alias(side) for side in ("chosen", "rejected"))


def _texts(frame: pl.DataFrame) -> pl.DataFrame:
    single = pl.all_horizontal(pl.col(name).list.len() == 1 for name in ("prompt", "chosen", "rejected"))
    asked = pl.col("prompt").list.first().struct.field("role") == "user"
    _refuse(frame.filter(~(single & asked)), "has more turns than text can hold; use style='conversational'")
    return frame.select(
        pl.col(name).list.first().struct.field("content").alias(name) for name in ("prompt", "chosen", "rejected")
    )


def _transcripts(frame: pl.DataFrame) -> pl.DataFrame:
    columns: dict[str, list[str]] = {"chosen": [], "rejected": []}
    for pair, prompt, *sides in frame.select("pair_id", "prompt", "chosen", "rejected").iter_rows():
        for name, answer in zip(columns, sides, strict=True):
            columns[name].append(_transcript(pair, prompt, answer))
    return pl.DataFrame(columns, schema={"chosen": pl.String, "rejected": pl.String})


def _transcript(pair: str, prompt: list[dict[str, str]], answer: list[dict[str, str]]) -> str:
    text = ""
    for turn in prompt + answer:
        if turn["role"] not in _SPEAKERS or len(answer) > 1 or _MARKER.search("\n\n" + turn["content"]):
            raise ValueError(f"pair {pair} does not fit a transcript; use style='conversational'")
        text += f"\n\n{_SPEAKERS[turn['role']]}: {turn['content']}"
    return text


def _refuse(frame: pl.DataFrame, why: str) -> None:
    if frame.height:
        raise ValueError(f"pair {frame['pair_id'][0]} {why} ({frame.height} such pairs)")
