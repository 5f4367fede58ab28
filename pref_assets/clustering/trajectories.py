"""Clusters of pairs whose loss went alike while a small reward head learned."""

from typing import ClassVar, Literal

from pydantic import Field

from pref_assets.clustering.centred import Centred
from pref_assets.clustering.description import Floats
from pref_assets.features.pair_head import HeadTraining
from pref_assets.features.trajectories import loss_trajectories, standardized
from pref_assets.pool import Pool, Vectors
from pref_assets.settings import EmbeddingsName


class Trajectories(Centred):
    """k-means of loss trajectories, as in S2L: Yang et al., "SmallToLarge" (arXiv:2403.07384), section 4: examples
    whose loss falls alike have similar gradients all along training.

    The proxy is a reward head on embeddings with one hidden layer, trained on the ``train`` pairs; the published one is
    a language model of 70M parameters. Trajectories are not scaled, as published, so that the level of the loss rules;
    ``standardize`` leaves the shape alone. Held-out pairs get the cluster of the nearest centre. A label starts with
    the loss of the centre at the first and last point. Time O(n · points · k) beside training.
    """

    type: Literal["trajectories"] = "trajectories"
    unit: ClassVar[Literal["completion", "pair"]] = "pair"
    embeddings: EmbeddingsName
    """Embeddings that the head reads."""
    k: int = Field(default=100, ge=1, le=10_000)
    """Number of clusters, at most the number of distinct trajectories; 100 in the paper."""
    normalize: bool = False
    """Scale trajectories to unit length, which leaves their shape without their level."""
    points: int = Field(default=20, ge=2, le=1000)
    """Losses in a trajectory, at evenly spaced steps."""
    standardize: bool = False
    """Subtract the mean of a trajectory and divide by its standard deviation first."""
    training: HeadTraining = HeadTraining()
    """How the head is trained."""

    def vectors(self, pool: Pool) -> Vectors:
        known = pool.embeddings[self.embeddings]
        found = loss_trajectories(pool.pairs, known, self.training, self.points, self.seed)
        return Vectors(found.ids, standardized(found.matrix)) if self.standardize else found

    def label(self, words: str, centre: Floats) -> str:
        if self.standardize or self.normalize:
            return words
        course = f"loss {centre[0]:.2f} to {centre[-1]:.2f}"
        return f"{course} · {words}" if words else course
