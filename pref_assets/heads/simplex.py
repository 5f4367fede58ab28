"""Weights of several rewards that depend on the prompt: targets, normalisation and the map that predicts them."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pref_assets.heads.minimise import Tensors, minimise

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]


def softmax(logits: Floats) -> Floats:
    """Rows of exp(z) / sum exp(z), (..., K)."""
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Floats = exponent / exponent.sum(axis=-1, keepdims=True)
    return result


def target_weights(rewards: Floats, temperature: float) -> Floats:
    """w*(x) = softmax(r(x, y+) / T), (n, K), of the K rewards (n, K) of each preferred response (arXiv:2511.10656)."""
    return softmax(rewards / temperature)


def entropy(weights: Floats) -> Floats:
    """-sum w log w of each row, (n,), in nats: 0 where one reward has all the weight, log K where all are equal."""
    logs = np.log(np.where(weights > 0, weights, 1.0))
    result: Floats = -(weights * logs).sum(axis=-1)
    return result


def z_scale(rewards: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column, (K,) each; 1 for a column without spread."""
    spread = rewards.std(axis=0)
    return rewards.mean(axis=0), np.where(spread > 0, spread, 1.0)


def fit_adapter(states: Floats, targets: Floats, l2: float, max_steps: int) -> tuple[Floats, Floats]:
    """The map f(h) = softmax(A h + b) that minimises sum KL(target || f) + l2/2 |A|^2.

    Args:
        states: (n, d). targets: (n, K), rows on the simplex.

    Returns:
        A (K, d) and b (K,). The problem is convex, so that they do not depend on a seed.

    Raises:
        FloatingPointError: L-BFGS did not come to rest in ``max_steps`` steps.
    """
    import torch

    h, wanted = torch.from_numpy(states), torch.from_numpy(targets)

    def loss(at: Tensors) -> "torch.Tensor":
        logs = torch.log_softmax(h @ at["map"].T + at["bias"], dim=1)
        return (-(wanted * logs).sum() + 0.5 * l2 * (at["map"] ** 2).sum()) / max(len(h), 1)

    kinds = targets.shape[1]
    start = {"map": np.zeros((kinds, states.shape[1])), "bias": np.zeros(kinds)}
    found = minimise(loss, start, max_steps, 1e-7)
    if not found.converged:
        raise FloatingPointError(f"the prompt adapter did not converge in {max_steps} steps; raise l2 (now {l2:g})")
    return found.arrays["map"], found.arrays["bias"]
