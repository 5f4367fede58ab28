"""A reward head for people who differ: prototypes of taste, and for everyone a mixture of them."""

from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.heads.ballots import Ballots, Voter, ballots
from pref_assets.heads.base import Arrays, Floats, Head, side_vectors
from pref_assets.heads.minimise import Minimum, Tensors, minimise, soft_logistic
from pref_assets.pool import Pool

if TYPE_CHECKING:
    import torch

    from pref_assets.heads.pal_fitted import FittedPal


class Pal(Head):
    """PAL: pluralistic alignment with K prototypes (Chen et al., arXiv:2406.08469): user u mixes them by weights
    softmax(w_u), and her preference follows from the mixture.

    Model ``B``: r_u(x, y) = sum_k softmax(w_u)_k r_k(x, y), r_k(x, y) = R_k . e + (F e) . (G_k F h), h the prompt's
    state; ``rank`` 0 leaves out the second term. The paper maps the prompt by one network for each prototype. [choice]
    Here they are linear, and h is the mean of the pair's two vectors, each of which reads the prompt. Model ``A``:
    z = F e, the logit is |z_rejected - a_u| - |z_chosen - a_u|, the ideal point a_u = sum_k softmax(w_u)_k p_k; the
    code maps e and the p_k by one network. w_u = w_0 + d_u, and ``user_l2`` pulls d_u to zero: a user with few votes
    is close to the mean taste w_0, and one without votes has it. With one prototype B is Bradley-Terry on votes.

    A pair's margin is that of the mean taste, or the mean over its voters (``by``); ``uncertainty`` is the spread over
    prototypes, weighed by w_0. Details: ``voters``, the mean over those who voted on the pair (who, not what, is
    read); ``opposed``, the weight of prototypes that prefer the other side.

    Needs embeddings and votes with annotators. O(starts max_steps n d K): 4k votes on 800 pairs of width 384 take a
    few seconds a head.
    """

    type: Literal["pal"] = "pal"
    model: Literal["A", "B"] = "B"
    """Ideal points in a space of answers (A), or mixed rewards (B)."""
    prototypes: int = Field(default=2, ge=1, le=100)
    """K; 2 in the paper."""
    voter: Voter = "annotator"
    """Who is a user: the annotator of a vote, or the source of a pair."""
    dimension: str | None = Field(default=None)
    """Dimension of the votes to learn; all votes if left out."""
    by: Literal["population", "voters"] = "population"
    """Whose margin a pair has: that of the mean taste, or the mean of those who voted on it."""
    rank: int = Field(default=0, ge=0, le=256)
    """Model B: width of F, by which the prompt bends the prototypes; 0 for none."""
    width: int = Field(default=16, ge=1, le=1024)
    """Model A: width of z."""
    balance_users: bool = False
    """Whether every user counts the same; otherwise every vote does."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |R|^2 / 2 (and of F, G) against the summed loss of the votes."""
    user_l2: float = Field(default=0.3, gt=0)
    """Weight of |d_u|^2 / 2 against the summed loss of the votes."""
    starts: int = Field(default=3, ge=1, le=100)
    """Random starts, of which the one with the lowest loss stays."""
    max_steps: int = Field(default=200, ge=1, le=100_000)
    """Most steps of L-BFGS for each start."""

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "FittedPal":
        """Fits prototypes and users.

        Raises:
            ValueError: no pair has a vote on the dimension, or a completion has no finite vector.
        """
        import torch

        from pref_assets.heads.pal_fitted import FittedPal

        votes = ballots(pairs, self.dimension, self.voter)
        chosen, rejected = side_vectors(pool, self.embeddings, pairs)
        mean = 0.5 * (chosen + rejected).mean(axis=0)
        good, poor = torch.from_numpy(chosen - mean), torch.from_numpy(rejected - mean)
        pair, user, label = (torch.from_numpy(each) for each in (votes.pair, votes.user, votes.label))
        weight = torch.from_numpy(self._weights(votes))

        def loss(at: Tensors) -> "torch.Tensor":
            mixture = torch.softmax(at["mix"] + at["users"], dim=1)[user]
            margins = self.margins(at, good, poor, pair, mixture)
            size = sum((each**2).sum() for name, each in at.items() if name in ("rewards", "items", "prompted"))
            penalty = 0.5 * self.l2 * size + 0.5 * self.user_l2 * (at["users"] ** 2).sum()
            return ((weight * soft_logistic(margins, label)).sum() + penalty) / len(label)

        spread = float(np.sqrt(((chosen - rejected) ** 2).sum(axis=1).mean())) or 1.0
        tries = [
            minimise(loss, self._start(chosen.shape[1], len(votes.users), spread, number), self.max_steps)
            for number in range(self.starts)
        ]
        best: Minimum = min(tries, key=lambda each: each.loss)
        return FittedPal(self, votes.users, {**best.arrays, "mean": mean})

    def restore(self, arrays: Arrays) -> "FittedPal":
        """The head that ``FittedPal.arrays`` came from."""
        from pref_assets.heads.pal_fitted import FittedPal

        return FittedPal.of(self, arrays)

    def margins(
        self, at: Tensors, good: "torch.Tensor", poor: "torch.Tensor", pair: "torch.Tensor", mixture: "torch.Tensor"
    ) -> "torch.Tensor":
        """Margins (b,), differentiable, of rows ``pair`` (b,) of the centred vectors ``good``, ``poor`` (n, d) under
        mixtures (b, K) of the prototypes."""
        if self.model == "A":
            return self._distances(at, poor, pair, mixture) - self._distances(at, good, pair, mixture)
        apart = self._prototypes(at, good, good + poor) - self._prototypes(at, poor, good + poor)
        return (mixture * apart[pair]).sum(1)

    def rewards(
        self, at: Tensors, good: "torch.Tensor", poor: "torch.Tensor", mixture: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Rewards of both sides (n,) each, of which the margin is the difference: mixed ones (B), or minus the distance
        to the ideal point (A); ``mixture`` (n, K)."""
        import torch

        if self.model == "A":
            every = torch.arange(len(good))
            return -self._distances(at, good, every, mixture), -self._distances(at, poor, every, mixture)
        first, second = (self._prototypes(at, side, good + poor) for side in (good, poor))
        return (mixture * first).sum(1), (mixture * second).sum(1)

    def _distances(
        self, at: Tensors, vectors: "torch.Tensor", rows: "torch.Tensor", mixture: "torch.Tensor"
    ) -> "torch.Tensor":
        """Model A: distances (b,) to the ideal points; a floor keeps the slope finite where one is zero."""
        points = (vectors @ at["items"].T)[rows]
        return ((points - mixture @ at["prototypes"]).square().sum(1) + 1e-12).sqrt()

    def _prototypes(self, at: Tensors, vectors: "torch.Tensor", both: "torch.Tensor") -> "torch.Tensor":
        """Model B: rewards (n, K) of the prototypes."""
        import torch

        found = vectors @ at["rewards"].T
        if self.rank:
            items, prompt = vectors @ at["items"].T, 0.5 * both @ at["items"].T
            found = found + torch.einsum("ni,kij,nj->nk", items, at["prompted"], prompt)
        return found

    def _weights(self, votes: Ballots) -> Floats:
        counts = np.bincount(votes.user, minlength=len(votes.users))
        if not self.balance_users:
            return np.ones(len(votes.label))
        result: Floats = len(votes.label) / len(votes.users) / counts[votes.user]
        return result

    def _start(self, width: int, users: int, spread: float, number: int) -> dict[str, Floats]:
        """Prototypes whose margins are of size 1, and users who have all the same taste."""
        draw = np.random.default_rng([self.seed, number, width])
        kinds = self.prototypes
        start: dict[str, NDArray[np.float64]] = {"mix": np.zeros(kinds), "users": np.zeros((users, kinds))}
        if self.model == "A":
            start["items"] = draw.normal(scale=2 / spread / np.sqrt(self.width), size=(self.width, width))
            start["prototypes"] = draw.normal(size=(kinds, self.width))
            return start
        start["rewards"] = draw.normal(scale=1 / spread, size=(kinds, width))
        if self.rank:
            start["items"] = draw.normal(scale=1 / spread / np.sqrt(self.rank), size=(self.rank, width))
            start["prompted"] = np.zeros((kinds, self.rank, self.rank))
        return start
