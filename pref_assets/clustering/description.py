"""What is said of clusters: their numbers, sizes, centres and quality."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.clustering.base import NOISE
from pref_assets.pairs.schema import CENTROIDS

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def largest_first(labels: Ints) -> tuple[Ints, Ints]:
    """Labels (n,) renumbered by falling size, equal sizes by their first member, and the old number of each new one.
    Noise stays what it is; numbers without members are left out."""
    inside = labels[labels != NOISE]
    present, first = np.unique(inside, return_index=True)
    sizes = np.bincount(inside, minlength=1)[present] if len(inside) else np.empty(0, np.int64)
    order = present[np.lexsort((first, -sizes))]
    number = np.full(int(present.max(initial=0)) + 1, NOISE, dtype=np.int64)
    number[order] = np.arange(len(order))
    return np.where(labels == NOISE, NOISE, number[labels]), order


def centroid_table(assignments: pl.DataFrame, numbers: Ints, centres: Floats, labels: dict[int, str]) -> pl.DataFrame:
    """``CENTROIDS`` of the clusters with these numbers, (k,), and centres, (k, d), from ``CLUSTERS``. A cluster without
    members has size 0 and no mean distance."""
    told = assignments.group_by("cluster").agg(size=pl.len(), mean_distance=pl.col("distance").mean())
    table = pl.DataFrame({"cluster": numbers}, schema={"cluster": pl.Int32}).with_columns(
        label=pl.Series([labels.get(int(each), "") for each in numbers], dtype=pl.String),
        centroid=pl.Series(centres, dtype=pl.Array(pl.Float32, centres.shape[1])).arr.to_list(),
    )
    table = table.join(told, on="cluster", how="left", maintain_order="left").with_columns(pl.col("size").fill_null(0))
    return CENTROIDS.conform(table)


def quality(matrix: Floats, labels: Ints, distance: Floats, sample: int, seed: int) -> dict[str, float]:
    """How good the clusters are, noise left out where there is any.

    ``k``, ``inertia`` (sum of squared distances), ``inertia_per_vector``, ``size_entropy`` (entropy of the sizes over
    log k; 1 is even), ``largest`` and ``smallest`` (members), ``silhouette`` (mean over ``sample`` vectors, Rousseeuw
    1987; absent when the sample has one cluster; its cost grows with the square of ``sample``).
    """
    from sklearn.metrics import silhouette_score

    inside = labels != NOISE
    matrix, labels, distance = matrix[inside], labels[inside], distance[inside]
    sizes = np.bincount(labels)
    sizes = sizes[sizes > 0]
    shares = sizes / sizes.sum()
    inertia = float(np.square(distance, dtype=np.float64).sum())
    found = {
        "k": float(len(sizes)),
        "inertia": inertia,
        "inertia_per_vector": inertia / len(labels),
        "size_entropy": float(-(shares * np.log(shares)).sum() / np.log(len(sizes))) if len(sizes) > 1 else 1.0,
        "largest": float(sizes.max()),
        "smallest": float(sizes.min()),
    }
    rows = np.random.default_rng(seed).choice(len(labels), min(len(labels), sample), replace=False)
    if 1 < len(np.unique(labels[rows])) < len(rows):
        found["silhouette"] = float(silhouette_score(matrix[rows], labels[rows]))
    return found
