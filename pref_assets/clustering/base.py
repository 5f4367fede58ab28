"""The joint of clustering: a pool goes in, a cluster for every item and a description of every cluster come out."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from pref_assets.pool import Pool
from pref_assets.settings import Settings


@dataclass(frozen=True)
class Clustering:
    """``assignments`` is ``CLUSTERS``, ``centroids`` is ``CENTROIDS``; the clusterer describes ``quality``."""

    assignments: pl.DataFrame
    centroids: pl.DataFrame
    quality: dict[str, float]


class Clusterer(Settings):
    """Puts items into groups. Subclasses set ``type`` and ``unit`` and implement ``cluster``."""

    unit: ClassVar[Literal["completion", "pair"]] = "completion"
    """What an item is: ``CLUSTERS.id`` is a completion id or a pair id."""

    def cluster(self, pool: Pool) -> Clustering:
        """Clusters of every compared completion, or of every pair.

        Invariants: each item is in exactly one cluster; cluster 0 is the largest; equal inputs and seed give equal
        clusters whatever the row order.
        """
        raise NotImplementedError
