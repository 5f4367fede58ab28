"""Loss trajectories: how the loss of every pair went while a small reward head learned."""

import numpy as np
import polars as pl

from pref_assets.features.pair_head import Floats, HeadTraining, sides_of
from pref_assets.pool import Vectors


def loss_trajectories(pairs: pl.DataFrame, vectors: Vectors, training: HeadTraining, points: int, seed: int) -> Vectors:
    """The Bradley-Terry loss of every pair at ``points`` evenly spaced steps of training on the ``train`` pairs.

    Follows S2L (Yang et al., arXiv:2403.07384, section 4.1), where the loss of every example is recorded at the
    checkpoints of a small proxy of the target model; here the proxy is a reward head on embeddings. Held-out pairs
    are measured but never trained on. Time O(steps · batch + points · n) · hidden · d.

    Returns:
        ``Vectors`` with pair ids, in order, and a matrix (n, points).

    Raises:
        ValueError: training has fewer steps than ``points``, or a completion has no finite vector.
    """
    pairs = pairs.sort("pair_id")
    sides = sides_of(pairs, vectors)
    train = np.flatnonzero((pairs["split"] == "train").to_numpy()).astype(np.int64)
    steps = training.steps(len(train))
    if steps < points:
        raise ValueError(
            f"{len(train)} train pairs in batches of {training.batch} make {steps} steps in {training.epochs} epochs, "
            f"too few for {points} points of a trajectory; raise `epochs`, or lower `batch` or `points`"
        )
    watched = set((np.linspace(0, steps, points + 1)[1:].round().astype(int) - 1).tolist())
    ids = pairs["pair_id"].to_list()
    heads = training.run([ids[row] for row in train.tolist()], sides.rows(train), seed)
    columns = [head.losses(sides) for step, head in enumerate(heads) if step in watched]
    return Vectors(ids, np.stack(columns, axis=1))


def standardized(matrix: Floats) -> Floats:
    """Each row minus its mean, over its standard deviation: the shape without the level. A constant row is zero."""
    moved = matrix - matrix.mean(axis=1, keepdims=True)
    spread = moved.std(axis=1, keepdims=True)
    flat = spread <= 1e-6 * np.abs(matrix).max(axis=1, keepdims=True)
    return np.asarray(np.where(flat, 0, moved / np.where(flat, 1, spread)), dtype=np.float32)
