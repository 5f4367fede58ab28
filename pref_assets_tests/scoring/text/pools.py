"""Small pools of pairs with texts."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets.pool import Pool, Vectors


def text_pool(
    prompts: Sequence[str],
    chosen: Sequence[str] | None = None,
    rejected: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    vectors: np.ndarray | None = None,
    metadata: Sequence[str | None] | None = None,
) -> Pool:
    """Pair p000 compares c000 and r000 of prompt q000, and so on; ``vectors`` are of the chosen completions."""
    n = len(prompts)
    chosen = chosen or [f"yes {i}" for i in range(n)]
    rejected = rejected or [f"no {i}" for i in range(n)]
    splits = splits or ["train"] * n
    sources = sources or ["ours"] * n

    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    return Pool(
        pairs=PAIRS.frame(
            {
                "pair_id": f"p{i:03}",
                "prompt_id": f"q{i:03}",
                "chosen_id": f"c{i:03}",
                "rejected_id": f"r{i:03}",
                "p_chosen": 1.0,
                "split": splits[i],
                "provenance": [{"source": sources[i], "uri": "x", "row": i, "batch": "one"}],
            }
            for i in range(n)
        ),
        prompts=PROMPTS.frame(
            {
                "prompt_id": f"q{i:03}",
                "messages": said("user", prompts[i]),
                "split": splits[i],
                "metadata": metadata[i] if metadata else None,
            }
            for i in range(n)
        ),
        completions=COMPLETIONS.frame(
            {"completion_id": f"{side}{i:03}", "prompt_id": f"q{i:03}", "messages": said("assistant", texts[i])}
            for side, texts in (("c", chosen), ("r", rejected))
            for i in range(n)
        ),
        embeddings={}
        if vectors is None
        else {"minilm": Vectors([f"c{i:03}" for i in range(n)], vectors.astype(np.float32))},
    )


def detail(scores: pl.DataFrame, name: str) -> list[float | None]:
    """A named value of every row."""
    return [next(each["value"] for each in row if each["name"] == name) for row in scores["details"].to_list()]
