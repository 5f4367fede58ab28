"""A small pool of rated answers."""

from typing import Any

import polars as pl

from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets.pool import Pool


def rating(dimension: str, value: float | None = None, rationale: str | None = None, by: str = "ann") -> dict[str, Any]:
    return {"dimension": dimension, "value": value, "annotator": by, "rationale": rationale}


def pool(answers: dict[str, list[dict[str, Any]]], texts: dict[str, str] | None = None, images: int = 0) -> Pool:
    """One prompt with these answers and their ratings; the first answer is preferred to every other."""
    said = texts or {}
    first, *others = answers
    completions = [
        {
            "completion_id": id_,
            "prompt_id": "p",
            "messages": [{"role": "assistant", "content": said.get(id_, id_)}],
            "ratings": ratings,
        }
        for id_, ratings in answers.items()
    ]
    pairs = [
        {"pair_id": f"{first}{each}", "prompt_id": "p", "chosen_id": first, "rejected_id": each, "split": "train"}
        for each in others
    ]
    prompt = {
        "prompt_id": "p",
        "messages": [{"role": "user", "content": said.get("p", "How many?")}],
        "images": [f"media://{number}" for number in range(images)],
    }
    return Pool(pairs=PAIRS.frame(pairs), completions=COMPLETIONS.frame(completions), prompts=PROMPTS.frame([prompt]))


def row(found: pl.DataFrame, id_: str) -> dict[str, Any]:
    return found.row(by_predicate=pl.col("completion_id") == id_, named=True)
