"""Small pools of pairs for the tests of selectors."""

import numpy as np
import polars as pl

from pref_assets.pairs.schema import COMPLETIONS, PAIR_SCORES, PAIRS
from pref_assets.selection import Pool, Vectors


def make_pool(
    scores: list[float], held_out: int = 0, vectors: np.ndarray | None = None, p_correct: list[float] | None = None
) -> Pool:
    """Train pairs p000, p001, … with these scores, then ``held_out`` test pairs; chosen completion of p000 is c000."""
    n = len(scores) + held_out
    pairs = PAIRS.frame(
        {
            "pair_id": f"p{i:03}",
            "prompt_id": f"q{i:03}",
            "chosen_id": f"c{i:03}",
            "rejected_id": f"r{i:03}",
            "p_chosen": 1.0,
            "split": "train" if i < len(scores) else "test",
        }
        for i in range(n)
    )
    probabilities = p_correct if p_correct is not None else [1 / (1 + np.exp(-s)) for s in scores]
    table = PAIR_SCORES.frame(
        {"pair_id": f"p{i:03}", "score": s, "p_correct": p}
        for i, (s, p) in enumerate(zip(scores, probabilities, strict=True))
    )
    if vectors is None:
        vectors = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    embeddings = Vectors([f"c{i:03}" for i in range(n)], vectors.astype(np.float32))
    return Pool(pairs, COMPLETIONS.empty(), {"strength": table}, {"minilm": embeddings})


def shuffled(pool: Pool, seed: int) -> Pool:
    """The same pool with every table in another row order."""
    rows = np.random.default_rng(seed).permutation(len(pool.embeddings["minilm"].ids))
    vectors = pool.embeddings["minilm"]
    return Pool(
        pool.pairs.sample(fraction=1, shuffle=True, seed=seed),
        pool.completions,
        {name: table.sample(fraction=1, shuffle=True, seed=seed + 1) for name, table in pool.scores.items()},
        {"minilm": Vectors([vectors.ids[row] for row in rows], vectors.matrix[rows])},
    )


def selected(decisions: pl.DataFrame) -> list[str]:
    """Ids of the selected pairs in the order of their ranks."""
    return decisions.filter("selected").sort("rank")["pair_id"].to_list()
