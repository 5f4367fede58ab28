"""Which text of a pair a scorer reads."""

from typing import Literal

import polars as pl

from pref_assets.pairs.texts import contents_of
from pref_assets.pool import Pool

PairText = Literal["prompt", "chosen", "rejected", "prompt_chosen", "all"]
"""The prompt, an answer, the prompt and the chosen answer, or the prompt and both answers."""

_PARTS: dict[PairText, tuple[str, ...]] = {
    "prompt": ("prompt",),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "prompt_chosen": ("prompt", "chosen"),
    "all": ("prompt", "chosen", "rejected"),
}


def pair_texts(pool: Pool, pairs: pl.DataFrame, what: PairText) -> pl.Series:
    """The text of each pair, in their order, without roles, parts with a blank line between. The prompt is that of the
    chosen completion, which pairs across prompts have too.

    Raises:
        ValueError: a completion of a pair, or its prompt, is not in the tables.
    """
    answers = answer_texts(pool).rename({"id": "completion_id"})
    said = pool.prompts.select("prompt_id", prompt=contents_of("messages"))
    asked = pool.completions.select("completion_id", "prompt_id").join(said, on="prompt_id", how="left")
    tables = {
        "prompt": asked.select(chosen_id="completion_id", prompt="prompt"),
        "chosen": answers.select(chosen_id="completion_id", chosen="text"),
        "rejected": answers.select(rejected_id="completion_id", rejected="text"),
    }
    frame = pairs.select("pair_id", "chosen_id", "rejected_id")
    for part in _PARTS[what]:
        key = "rejected_id" if part == "rejected" else "chosen_id"
        frame = frame.join(tables[part], on=key, how="left", validate="m:1", maintain_order="left")
    silent = frame.filter(pl.any_horizontal(pl.col(part).is_null() for part in _PARTS[what]))["pair_id"]
    if len(silent):
        raise ValueError(
            f"{len(silent)} pairs have no {' or '.join(_PARTS[what])} in the tables, e.g. {silent.head(3).to_list()}; "
            "materialize the pairs again"
        )
    return frame.select(text=pl.concat_str(_PARTS[what], separator="\n\n"))["text"]


def answer_texts(pool: Pool) -> pl.DataFrame:
    """Frame (id, text) of every completion, without roles, ordered by id."""
    return pool.completions.select(id="completion_id", text=contents_of("messages")).sort("id")
