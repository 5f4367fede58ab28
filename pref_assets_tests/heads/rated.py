"""Pairs whose completions are rated in several dimensions, each a planted linear function of the vector."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pairs.schema import COMPLETIONS, PAIRS
from pref_assets.pool import Pool, Vectors


def rated_pool(
    n: int, dimensions: Sequence[str], width: int = 5, noise: float = 0.1, seed: int = 0, raters: int = 1
) -> tuple[Pool, NDArray[np.float64]]:
    """``n`` pairs, four of five ``train``, and the planted weights (width, dimensions). The side whose first rating
    is higher is chosen; ``strength`` is by how much, 1 to 3."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(2 * n, width)).astype(np.float32)
    planted = rng.normal(size=(width, len(dimensions)))
    values = matrix @ planted
    rated = values[:, :, None] + noise * rng.normal(size=(2 * n, len(dimensions), raters))
    ids = [f"c{row:05}" for row in range(2 * n)]
    completions = COMPLETIONS.frame(
        {
            "completion_id": ids[row],
            "prompt_id": f"q{row % n:05}",
            "ratings": [
                {"dimension": name, "value": float(rated[row, k, r]), "annotator": f"a{r}", "rationale": None}
                for k, name in enumerate(dimensions)
                for r in range(raters)
            ],
        }
        for row in range(2 * n)
    )
    first = values[:n, 0] > values[n:, 0]
    gap = np.abs(values[:n, 0] - values[n:, 0])
    strength = 1 + (gap > np.quantile(gap, 1 / 3)) + (gap > np.quantile(gap, 2 / 3))
    pairs = PAIRS.frame(
        {
            "pair_id": f"p{row:05}",
            "prompt_id": f"q{row:05}",
            "chosen_id": ids[row] if first[row] else ids[n + row],
            "rejected_id": ids[n + row] if first[row] else ids[row],
            "p_chosen": 1.0,
            "strength": float(strength[row]),
            "votes": [],
            "split": "train" if row < 0.8 * n else "test",
        }
        for row in range(n)
    )
    return Pool(pairs, completions, embeddings={"e": Vectors(ids, matrix)}), planted


def unrated(pool: Pool, dimension: str, ids: Sequence[str]) -> pl.DataFrame:
    """The completions without the ratings of a dimension of some of them."""
    kept = pl.col("ratings").list.filter(pl.element().struct.field("dimension") != dimension)
    return pool.completions.with_columns(
        ratings=pl.when(pl.col("completion_id").is_in(list(ids))).then(kept).otherwise("ratings")
    )
