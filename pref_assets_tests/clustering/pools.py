"""Pools of pairs with vectors, for the tests of clusterers."""

import numpy as np

from pref_assets.pairs.schema import COMPLETIONS, PAIRS
from pref_assets.pool import Pool, Vectors


def vector_pool(
    chosen: np.ndarray, rejected: np.ndarray, *, held_out: int = 0, p_chosen: float = 1.0, shuffle: int | None = None
) -> Pool:
    """Pair p00000 has these two vectors, and so on; the last ``held_out`` are test pairs. ``shuffle`` mixes the rows of
    every table."""
    n = len(chosen)
    rows = np.arange(n) if shuffle is None else np.random.default_rng(shuffle).permutation(n)
    pairs = PAIRS.frame(
        {
            "pair_id": f"p{i:05}",
            "prompt_id": f"q{i:05}",
            "chosen_id": f"c{i:05}",
            "rejected_id": f"r{i:05}",
            "p_chosen": p_chosen,
            "split": "train" if i < n - held_out else "test",
        }
        for i in rows.tolist()
    )
    ids = [f"{side}{i:05}" for side in "cr" for i in rows.tolist()]
    matrix = np.concatenate([chosen[rows], rejected[rows]]).astype(np.float32)
    return Pool(pairs, COMPLETIONS.empty(), embeddings={"e": Vectors(ids, matrix)})


def preferences(n: int, d: int = 16, flipped: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chosen and rejected vectors (n, d), ordered by a linear reward but for a share ``flipped``; and those."""
    rng = np.random.default_rng(seed)
    reward = rng.normal(size=d)
    first, second = rng.normal(size=(2, n, d))
    flips = rng.random(n) < flipped
    swap = ((first - second) @ reward < 0) ^ flips
    return np.where(swap[:, None], second, first), np.where(swap[:, None], first, second), flips
