"""The joint of clustering: a pool goes in, a cluster for every item and a description of every cluster come out."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from pref_assets.pairs.texts import conversation_texts
from pref_assets.pool import Pool, Vectors
from pref_assets.settings import Settings

NOISE = -1
"""Cluster of items that belong to no group, of clusterers that know noise."""


@dataclass(frozen=True)
class Clustering:
    """``assignments`` is ``CLUSTERS``, ``centroids`` is ``CENTROIDS``; the clusterer describes ``quality``."""

    assignments: pl.DataFrame
    centroids: pl.DataFrame
    quality: dict[str, float]


class Clusterer(Settings):
    """Puts items into groups. Subclasses set ``type`` and ``unit`` and implement ``cluster`` and ``space``."""

    unit: ClassVar[Literal["completion", "pair"]] = "completion"
    """What an item is: ``CLUSTERS.id`` is a completion id or a pair id."""

    def cluster(self, pool: Pool) -> Clustering:
        """Clusters of every compared completion, or of every pair.

        Invariants: each item is in exactly one cluster; cluster 0 is the largest (noise, if there is any, is -1);
        equal inputs and seed give equal clusters whatever the row order.
        """
        raise NotImplementedError

    def space(self, pool: Pool) -> Vectors:
        """The vectors that it groups, one for each item, ordered by id."""
        raise NotImplementedError


def item_texts(pool: Pool, unit: Literal["completion", "pair"]) -> pl.DataFrame:
    """Frame (id, text) of the items: prompt and answer of a completion, of a pair those of its chosen completion."""
    texts = conversation_texts(pool.completions, pool.prompts)
    if unit == "completion":
        return texts
    sides = pool.pairs.select("pair_id", id="chosen_id")
    return sides.join(texts, on="id", how="inner", maintain_order="left").select(id="pair_id", text="text")
