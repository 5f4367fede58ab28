"""Fitted heads that give every completion one number: linear, or a small network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pref_assets.heads.base import Arrays, Floats, Predictions, prompt_of, side_vectors
from pref_assets.heads.minimise import Tensors, minimise
from pref_assets.heads.network import Forward, Mlp, Network, fit_network
from pref_assets.pool import Pool

if TYPE_CHECKING:
    import torch

PairLosses = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Losses (n,) of the rewards of the chosen and of the rejected sides of the pairs ``rows``, each (n,)."""
TOLERANCE = 1e-8
"""Largest entry of the gradient of a linear head's mean loss."""


@dataclass(frozen=True)
class LinearReward:
    """r(x, y) = w . e(x, y); ``weights`` (d,) float64."""

    embeddings: str
    weights: Floats

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        sides = side_vectors(pool, self.embeddings, pairs, len(self.weights))
        chosen, rejected = (side @ self.weights for side in sides)
        return Predictions(chosen - rejected, chosen, rejected)

    def arrays(self) -> Arrays:
        return {"weights": self.weights}


@dataclass(frozen=True)
class NetworkReward:
    """r(x, y) is the only output of a network of e(x, y)."""

    embeddings: str
    network: Network

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        chosen, rejected = (self.network(side)[:, 0] for side in side_vectors(pool, self.embeddings, pairs))
        return Predictions(chosen - rejected, chosen, rejected)

    def arrays(self) -> Arrays:
        return self.network.arrays()


def restored(embeddings: str, arrays: Arrays) -> LinearReward | NetworkReward:
    """The head that the arrays are of."""
    if "weights" in arrays:
        return LinearReward(embeddings, arrays["weights"])
    return NetworkReward(embeddings, Network.restore(arrays))


def fit_linear(
    sides: tuple[Floats, Floats], losses: PairLosses, l2: float, start: Floats | None = None, max_steps: int = 2000
) -> Floats:
    """The w (d,) that minimises sum(losses) + l2/2 |w - start|^2 over pairs with vectors ``sides``, (n, d) each.

    Raises:
        FloatingPointError: L-BFGS did not come to rest in ``max_steps`` steps.
    """
    import torch

    chosen, rejected = (torch.from_numpy(side) for side in sides)
    rows = torch.arange(len(chosen))
    origin = np.zeros(chosen.shape[1]) if start is None else start
    pulled = torch.from_numpy(origin)

    def loss(at: Tensors) -> "torch.Tensor":
        w = at["weights"]
        total = losses(chosen @ w, rejected @ w, rows).sum() + 0.5 * l2 * (w - pulled).square().sum()
        return total / max(len(rows), 1)

    found = minimise(loss, {"weights": origin}, max_steps, TOLERANCE)
    if not found.converged:
        raise FloatingPointError(f"a linear head did not converge in {max_steps} steps; raise l2 (now {l2:g})")
    return found.arrays["weights"]


def fit_pair_network(
    sides: tuple[Floats, Floats], losses: PairLosses, pairs: pl.DataFrame, settings: Mlp, seed: int
) -> Network:
    """A network with one output, siamese on both sides; its mean reward over the completions it learned from is 0,
    as a difference says nothing of it."""
    import torch

    features, n = np.concatenate(sides), len(pairs)

    def of_rows(forward: Forward, rows: "torch.Tensor") -> "torch.Tensor":
        chosen, rejected = forward(torch.cat([rows, rows + n]))[:, 0].chunk(2)
        return losses(chosen, rejected, rows)

    found = fit_network(features, 1, of_rows, prompt_of(pairs), settings, seed)
    return found.shifted(-found(features).mean(axis=0))
