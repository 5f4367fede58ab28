"""Small worlds for heads: a pool from vectors and comparisons."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from pref_assets.pairs.schema import COMPLETIONS, PAIRS, PROMPTS
from pref_assets.pool import Pool, Vectors


def pool_of(matrix: np.ndarray, pairs: Iterable[Mapping[str, Any]], **more: Any) -> Pool:
    """A pool with embeddings ``e``: completion ``c00007`` has row 7; a pair names its sides by row, ``chosen`` and
    ``rejected``, and may give any column of ``PAIRS``; every pair has a prompt of its own unless it names one."""
    ids = [f"c{row:05}" for row in range(len(matrix))]
    rows: list[dict[str, Any]] = []
    for number, pair in enumerate(pairs):
        named = {"pair_id": f"p{number:05}", "prompt_id": f"q{number:05}", "p_chosen": 1.0, "split": "train"}
        sides = {"chosen_id": ids[pair["chosen"]], "rejected_id": ids[pair["rejected"]]}
        rows.append({**named, **sides, **{k: v for k, v in pair.items() if k not in ("chosen", "rejected")}})
    completions = COMPLETIONS.frame({"completion_id": id_, "messages": [], "ratings": []} for id_ in ids)
    found = {"completions": completions, "prompts": PROMPTS.empty(), **more}
    return Pool(PAIRS.frame(rows), embeddings={"e": Vectors(ids, matrix.astype(np.float32))}, **found)


def planted(n: int, d: int, seed: int, held_out: int = 0, noise: float = 0.0) -> tuple[Pool, np.ndarray]:
    """``n`` train and ``held_out`` test pairs labelled by a linear reward, a share ``noise`` of them wrongly; and the
    reward."""
    rng = np.random.default_rng(seed)
    total = n + held_out
    matrix = rng.normal(size=(2 * total, d))
    truth = rng.normal(size=d)
    left = ((matrix[:total] - matrix[total:]) @ truth > 0) ^ (rng.random(total) < noise)
    left[n:] = ((matrix[:total] - matrix[total:]) @ truth > 0)[n:]
    rows = [
        {
            "chosen": i if left[i] else total + i,
            "rejected": total + i if left[i] else i,
            "split": "train" if i < n else "test",
        }
        for i in range(total)
    ]
    return pool_of(matrix, rows), truth


def rated(rows: Sequence[Mapping[str, float]]) -> pl.DataFrame:
    """Completions ``c00000``, ... with these ratings by dimension."""
    return COMPLETIONS.frame(
        {
            "completion_id": f"c{row:05}",
            "prompt_id": f"q{row:05}",
            "messages": [],
            "ratings": [{"dimension": name, "value": value, "annotator": "r"} for name, value in ratings.items()],
        }
        for row, ratings in enumerate(rows)
    )


def shuffle(pool: Pool, seed: int) -> pl.DataFrame:
    """The pairs in another order."""
    return pool.pairs.sample(fraction=1.0, shuffle=True, seed=seed)


def swapped(pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with their sides exchanged."""
    return pairs.with_columns(chosen_id="rejected_id", rejected_id="chosen_id", p_chosen=1 - pl.col("p_chosen"))
