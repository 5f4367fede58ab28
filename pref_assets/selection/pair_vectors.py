"""One vector for a pair, made of the embeddings of its completions."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pool import Vectors

Floats = NDArray[np.float32]
Compare = Literal["chosen", "both"]


def pair_vectors(vectors: Vectors, pairs: pl.DataFrame, compare: Compare, *, unit: bool) -> Floats:
    """Vectors (n, d) of the chosen completions, or (n, 2d) of chosen and rejected side by side, in the pairs' order.

    ``unit`` scales each completion's vector to length one, and two side by side to one together; zeros stay zeros.
    Raises ``ValueError`` as ``Vectors.rows`` does.
    """
    sides = ("chosen_id", "rejected_id") if compare == "both" else ("chosen_id",)
    parts = [vectors.rows(pairs[side].to_list()) for side in sides]
    if unit:
        parts = [each / np.sqrt(np.float32(len(sides))) for each in map(unit_rows, parts)]
    return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)


def unit_rows(matrix: Floats) -> Floats:
    """Rows (n, d) scaled to length one; a row of zeros stays so."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(norms == 0, 1, norms), dtype=np.float32)
