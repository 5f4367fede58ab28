"""Pairs of a linear Bradley-Terry world with planted flips, as embeddings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pref_assets.pairs.schema import COMPLETIONS, PAIRS
from pref_assets.selection import Pool, Vectors


@dataclass(frozen=True)
class Planted:
    """Pairs p00000, … with differences x (n, d) towards the labelled side, which ones are flipped, and fresh pairs."""

    pool: Pool
    x: NDArray[np.float64]
    flipped: NDArray[np.bool_]
    fresh: NDArray[np.float64]
    fresh_wins: NDArray[np.bool_]

    def accuracy(self, head: NDArray[np.float64]) -> float:
        """Share of the fresh pairs, whose labels are right, that a head gets right."""
        return float((((self.fresh @ head) > 0) == self.fresh_wins).mean())


def plant(flips: float, n: int = 4000, d: int = 32, sharpness: float = 1e3, seed: int = 0) -> Planted:
    """A world with a share of flipped labels; ``sharpness`` times the unit preference is the log-odds of a label."""
    rng = np.random.default_rng(seed)
    preference = rng.normal(size=d)
    preference /= np.linalg.norm(preference)
    x = rng.normal(size=(2 * n, d))
    wins = rng.random(2 * n) * (1 + np.exp(np.clip(-sharpness * (x @ preference), -700, 700))) < 1
    flipped = rng.random(n) < flips
    labelled = np.where((wins[:n] ^ flipped)[:, None], x[:n], -x[:n])
    names = [f"{i:05}" for i in range(n)]
    pairs = PAIRS.frame(
        {
            "pair_id": f"p{i}",
            "prompt_id": f"q{i}",
            "chosen_id": f"c{i}",
            "rejected_id": f"r{i}",
            "p_chosen": 1.0,
            "split": "train",
        }
        for i in names
    )
    common = rng.normal(size=(n, d))
    matrix = np.concatenate([common + labelled / 2, common - labelled / 2]).astype(np.float32)
    vectors = Vectors([f"c{i}" for i in names] + [f"r{i}" for i in names], matrix)
    pool = Pool(pairs, COMPLETIONS.empty(), embeddings={"minilm": vectors})
    return Planted(pool, labelled, flipped, x[n:], x[n:] @ preference > 0)
