"""Clusters of pairs that would move a small reward head in the same direction."""

from typing import ClassVar, Literal

from pydantic import Field

from pref_assets.clustering.centred import Centred
from pref_assets.features.pair_head import HeadTraining
from pref_assets.features.projected_gradients import projected_gradients
from pref_assets.pool import Pool, Vectors
from pref_assets.settings import EmbeddingsName


class ProjectedGradients(Centred):
    """k-means of randomly projected gradients: the pseudo-skills of Adapt-infinity (Maharana et al.,
    arXiv:2410.10636, section 3).

    The gradients are those of a reward head on embeddings with one hidden layer, trained on the ``train`` pairs; the
    published ones are of a language model's last layer. They are scaled to unit length, so that direction counts and
    not how wrong the head is. A pair whose two sides have one vector has no gradient and goes to the cluster nearest
    to zero. Held-out pairs get the cluster of the nearest centre. Time O(n · hidden · d · dimensions).
    """

    type: Literal["projected_gradients"] = "projected_gradients"
    unit: ClassVar[Literal["completion", "pair"]] = "pair"
    embeddings: EmbeddingsName
    """Embeddings that the head reads."""
    k: int = Field(default=10, ge=1, le=10_000)
    """Number of clusters, at most the number of distinct gradients; 10 in the published code."""
    dimensions: int = Field(default=512, ge=1, le=8192)
    """Numbers a gradient is projected to; the error of a cosine falls with their square root."""
    training: HeadTraining = HeadTraining()
    """How the head is trained."""

    def vectors(self, pool: Pool) -> Vectors:
        known = pool.embeddings[self.embeddings]
        return projected_gradients(pool.pairs, known, self.training, self.dimensions, self.seed)
