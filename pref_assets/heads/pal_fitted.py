"""A fitted PAL head: what it says of pairs, of its users, and of users whom it meets later."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.heads.ballots import ballots
from pref_assets.heads.base import Arrays, Floats, Predictions, side_vectors
from pref_assets.heads.minimise import Tensors, minimise, soft_logistic
from pref_assets.heads.pal import Pal
from pref_assets.heads.words import array_words, word_array
from pref_assets.pool import Pool

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class FittedPal:
    """A fitted head: the ``users`` it knows, in order, and its ``parameters``: ``mean`` (d,) of the vectors, ``mix``
    (K,) = w_0, ``users`` (u, K) = d_u, and ``rewards`` (K, d) or ``items`` (m, d) and ``prototypes`` (K, m)."""

    config: Pal
    users: list[str]
    parameters: Mapping[str, Floats]

    @classmethod
    def of(cls, config: Pal, arrays: Arrays) -> "FittedPal":
        """The head that ``arrays`` came from."""
        return cls(config, array_words(arrays["names"]), {k: v for k, v in arrays.items() if k != "names"})

    def arrays(self) -> Mapping[str, NDArray]:
        """The parameters, and the users as ``names``."""
        return {**self.parameters, "names": word_array(self.users)}

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        """Margins of the mean taste or of each pair's voters, in log-odds. Raises as ``Fitted.predict``."""
        population = np.tile(self.population(), (len(pairs), 1))
        shared = self.margin(pool, pairs, population)
        kinds = np.eye(len(population[0]) if len(population) else self.config.prototypes)
        each = np.stack([self.margin(pool, pairs, np.tile(row, (len(pairs), 1))) for row in kinds], axis=1)
        middle = (population * each).sum(axis=1, keepdims=True)
        uncertainty = np.sqrt((population * (each - middle) ** 2).sum(axis=1))
        opposed = (population * (np.sign(each) == -np.sign(shared)[:, None])).sum(axis=1) * (shared != 0)
        voters = self._by_voters(pool, pairs, shared)
        margin = shared if self.config.by == "population" else voters
        good, poor = self._rewards(pool, pairs, population)
        return Predictions(
            margin,
            good if self.config.by == "population" else None,
            poor if self.config.by == "population" else None,
            uncertainty,
            {"voters": voters, "opposed": opposed},
        )

    def population(self) -> Floats:
        """The mean taste softmax(w_0), (K,)."""
        return _softmax(self.parameters["mix"])

    def user_weights(self) -> pl.DataFrame:
        """Frame (user, w_1, ..., w_K): the mixture of every user that the head knows; rows sum to 1."""
        weights = _softmax(self.parameters["mix"] + self.parameters["users"])
        columns = {f"w_{kind + 1}": weights[:, kind] for kind in range(weights.shape[1])}
        return pl.DataFrame({"user": self.users, **columns}, schema_overrides={"user": pl.String})

    def weights_of(self, users: list[str]) -> Floats:
        """Mixtures (len(users), K); the mean taste for a user that the head does not know."""
        place = {user: row for row, user in enumerate(self.users)}
        apart = np.concatenate([self.parameters["users"], np.zeros((1, self.config.prototypes))])
        return _softmax(self.parameters["mix"] + apart[[place.get(user, -1) for user in users]])

    def margin(self, pool: Pool, pairs: pl.DataFrame, mixture: Floats) -> Floats:
        """Margins (n,) of pairs under a mixture (n, K) for each."""
        import torch

        good, poor = self._centred(pool, pairs)
        rows = torch.arange(len(pairs))
        with torch.no_grad():
            found = self.config.margins(self._tensors(), good, poor, rows, torch.from_numpy(mixture))
        result: Floats = found.numpy()
        return result

    def learn_user(self, pool: Pool, pairs: pl.DataFrame, user: str) -> Floats:
        """The mixture (K,) of a user from her votes on these pairs, everything else as it is.

        Raises:
            ValueError: none of the pairs has a vote of hers.
        """
        import torch

        votes = ballots(pairs, self.config.dimension, self.config.voter)
        if user not in votes.users:
            raise ValueError(f"pal: none of the {len(pairs)} pairs has a vote of user {user!r}")
        mine = votes.user == votes.users.index(user)
        good, poor = self._centred(pool, pairs)
        pair, label = torch.from_numpy(votes.pair[mine]), torch.from_numpy(votes.label[mine])
        fixed = self._tensors()

        def loss(at: Tensors) -> "torch.Tensor":
            mixture = torch.softmax(fixed["mix"] + at["user"], dim=0).expand(len(pair), -1)
            margins = self.config.margins(fixed, good, poor, pair, mixture)
            return soft_logistic(margins, label).sum() + 0.5 * self.config.user_l2 * (at["user"] ** 2).sum()

        found = minimise(loss, {"user": np.zeros(self.config.prototypes)}, self.config.max_steps)
        return _softmax(self.parameters["mix"] + found.arrays["user"])

    def _by_voters(self, pool: Pool, pairs: pl.DataFrame, shared: Floats) -> Floats:
        """Mean margin over each pair's voters; ``shared`` where nobody voted."""
        asked = pairs["votes"].list.len().sum() if self.config.voter == "annotator" else len(pairs)
        if not asked:
            return shared
        votes = ballots(pairs, None, self.config.voter)
        theirs = self.margin(pool, pairs[votes.pair], self.weights_of([votes.users[user] for user in votes.user]))
        counts = np.bincount(votes.pair, minlength=len(pairs))
        sums = np.bincount(votes.pair, theirs, minlength=len(pairs))
        return np.where(counts > 0, sums / np.maximum(counts, 1), shared)

    def _rewards(self, pool: Pool, pairs: pl.DataFrame, mixture: Floats) -> tuple[Floats, Floats]:
        """Rewards of both sides: mixed ones (B), or minus the distance to the ideal point (A)."""
        import torch

        good, poor = self._centred(pool, pairs)
        with torch.no_grad():
            sides = self.config.rewards(self._tensors(), good, poor, torch.from_numpy(mixture))
        return sides[0].numpy(), sides[1].numpy()

    def _centred(self, pool: Pool, pairs: pl.DataFrame) -> tuple["torch.Tensor", "torch.Tensor"]:
        import torch

        mean = self.parameters["mean"]
        chosen, rejected = side_vectors(pool, self.config.embeddings, pairs, len(mean))
        return torch.from_numpy(chosen - mean), torch.from_numpy(rejected - mean)

    def _tensors(self) -> Tensors:
        import torch

        return {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in self.parameters.items()}


def _softmax(logits: Floats) -> Floats:
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Floats = exponent / exponent.sum(axis=-1, keepdims=True)
    return result
