"""Projected gradients: in which direction every pair would move a small reward head."""

import numpy as np
import polars as pl

from pref_assets.features.pair_head import Floats, HeadTraining, sides_of
from pref_assets.pool import Vectors

BLOCK_BYTES = 64 * 1024 * 1024  # gradients held at once


def projected_gradients(
    pairs: pl.DataFrame, vectors: Vectors, training: HeadTraining, dimensions: int, seed: int
) -> Vectors:
    """The gradient of every pair's loss by all weights of a trained head, randomly projected.

    As in LESS (Xia et al., arXiv:2402.04333, section 4.1) and Adapt-infinity (Maharana et al., arXiv:2410.10636,
    section 3), with a reward head on embeddings in the place of a language model. The head is trained on the ``train``
    pairs. Time O(n · hidden · d · dimensions).

    Returns:
        ``Vectors`` with pair ids, in order, and a matrix (n, dimensions).

    Raises:
        ValueError: a completion has no finite vector, or there are no train pairs.
    """
    pairs = pairs.sort("pair_id")
    sides = sides_of(pairs, vectors)
    train = np.flatnonzero((pairs["split"] == "train").to_numpy()).astype(np.int64)
    ids = pairs["pair_id"].to_list()
    *_, head = training.run([ids[row] for row in train.tolist()], sides.rows(train), seed)
    width = head.hidden.size + head.out.size
    signs = projection(width, dimensions, seed)
    block = max(BLOCK_BYTES // (4 * width), 1)
    starts = range(0, len(sides), block)
    return Vectors(ids, np.concatenate([head.gradients(sides.rows(slice(at, at + block))) @ signs for at in starts]))


def projection(width: int, dimensions: int, seed: int) -> Floats:
    """A random matrix (width, dimensions) of +-1 / sqrt(dimensions), that keeps lengths and angles near what they were
    (Johnson & Lindenstrauss, 1984; signs: Achlioptas, 2003)."""
    signs = np.random.default_rng(seed).integers(0, 2, size=(width, dimensions), dtype=np.int8)
    return np.asarray((2 * signs - 1) / np.sqrt(dimensions), dtype=np.float32)
