"""Two reward heads that teach one another with the pairs they believe."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.heads.base import Arrays, Floats, Head, Predictions, labels_of, side_vectors
from pref_assets.pool import Pool
from pref_assets.selection.peer_review import Course, Review, first_heads, train_peers

_REVIEWS: dict[str, Review] = {"crm": "peer", "self_trim": "self", "two_rm_avg": "none"}


class Collaborative(Head):
    """Collaborative reward modelling (arXiv:2505.10597): in each batch a head passes the pairs it finds easiest to its
    peer, which learns from no others, so that wrong labels teach neither.

    The reward is the mean of both heads, ``uncertainty`` half their distance. The share passed on falls from 1 to
    1 - ``noise_rate`` over ``ramp_epochs``; batches are shuffled, since data sorted by margin, as in the paper, fail
    with a fixed share a batch (see selector `crm`, which drops pairs by the same heads). ``method`` names the baselines
    that the paper's reviewers asked for: `self_trim`, each head leaves out what it finds hardest itself, and
    `two_rm_avg`, two plain heads. Details: ``margin_a``, ``margin_b``; which head is a and which b is chance, so that
    over several members they are means of unlike things, and their distance says less than ``uncertainty``.

    Needs embeddings. O(epochs n d). With more dimensions than a quarter of the pairs heads learn the noise by heart.
    """

    type: Literal["collaborative"] = "collaborative"
    method: Literal["crm", "self_trim", "two_rm_avg"] = "crm"
    """Who chooses what trains a head: the other head, itself, or nobody."""
    noise_rate: float = Field(default=0.2, ge=0, lt=1)
    """Share of labels taken to be wrong."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the pairs."""
    ramp_epochs: int = Field(default=15, ge=0)
    """Epochs over which the share passed on falls to 1 - `noise_rate`; 0 starts there."""
    batch_pairs: int = Field(default=128, ge=1)
    """Pairs a step; the share is taken of each batch."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Step of Adam."""
    l2: float = Field(default=1.0, ge=0)
    """Weight of |w|^2 / 2 against the summed loss."""
    curriculum: float = Field(default=0.0, ge=0, le=0.8)
    """How much batches go from large to small margins: 0 is chance, 1 would be the global order, which fails."""

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "FittedCollaborative":
        """Trains both heads.

        Raises:
            ValueError: no pair, or a completion without a finite vector.
            FloatingPointError: the learning rate is too high.
        """
        if pairs.is_empty():
            raise ValueError("collaborative: no pair to learn from")
        chosen, rejected = side_vectors(pool, self.embeddings, pairs)
        shared = self.model_dump(include=set(Course.__annotations__) - {"review"})
        course = Course(review=_REVIEWS[self.method], **shared)
        start = first_heads(chosen.shape[1], self.seed)
        return FittedCollaborative(self, train_peers(chosen - rejected, labels_of(pairs), start, course))

    def restore(self, arrays: Arrays) -> "FittedCollaborative":
        """The head that ``FittedCollaborative.arrays`` came from."""
        return FittedCollaborative(self, arrays["heads"])


@dataclass(frozen=True)
class FittedCollaborative:
    """Both fitted heads, the columns of ``heads`` (d, 2)."""

    config: Collaborative
    heads: Floats

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        """Mean rewards of both heads. Raises ``ValueError`` as ``Fitted.predict``."""
        sides = side_vectors(pool, self.config.embeddings, pairs, len(self.heads))
        chosen, rejected = (side @ self.heads for side in sides)
        apart = chosen - rejected
        details = {"margin_a": apart[:, 0].copy(), "margin_b": apart[:, 1].copy()}
        half = 0.5 * np.abs(apart[:, 0] - apart[:, 1])
        return Predictions(apart.mean(axis=1), chosen.mean(axis=1), rejected.mean(axis=1), half, details)

    def arrays(self) -> Arrays:
        """``heads``."""
        return {"heads": np.ascontiguousarray(self.heads)}
