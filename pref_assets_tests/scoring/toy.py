"""The linear test bed: completions with a known linear reward, pairs labelled by it, a planted share of flips."""

import numpy as np
import polars as pl

from pref_assets.pairs.schema import PAIRS
from pref_assets.selection import Vectors


def linear_pairs(
    n: int, d: int, flips: float, seed: int, held_out: int = 0, pairs_per_prompt: int = 1
) -> tuple[pl.DataFrame, Vectors, pl.DataFrame]:
    """``n`` train and ``held_out`` test pairs, their vectors, and frame (pair_id, flipped)."""
    rng = np.random.default_rng(seed)
    total = n + held_out
    matrix = rng.normal(size=(2 * total, d)).astype(np.float32)
    truth = rng.normal(size=d)
    better = (matrix[:total] - matrix[total:]) @ truth > 0
    flipped = rng.random(total) < flips
    ids = [f"c{row:05}" for row in range(2 * total)]
    left = better ^ flipped
    pairs = PAIRS.frame(
        {
            "pair_id": f"p{i:05}",
            "prompt_id": f"q{i // pairs_per_prompt:05}",
            "chosen_id": ids[i] if left[i] else ids[total + i],
            "rejected_id": ids[total + i] if left[i] else ids[i],
            "p_chosen": 1.0,
            "split": "train" if i < n else "test",
        }
        for i in range(total)
    )
    return pairs, Vectors(ids, matrix), pl.DataFrame({"pair_id": pairs["pair_id"], "flipped": flipped})
