"""Preferences by regret: how much worse a segment was than the best that could be done from where it began."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pref_assets.heads.minimise import Tensors, minimise, soft_logistic

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]


def regret(returns: Floats, v_start: Floats, v_end: Floats) -> Floats:
    """V*(s_0) - (sum of rewards + V*(s_T)) of segments with deterministic transitions, (n,) (arXiv:2206.02231, eq. 4);
    0 for an optimal segment, never negative where V* is the optimal value."""
    result: Floats = v_start - (returns + v_end)
    return result


def link_nll(margins: Floats, labels: Floats) -> float:
    """Mean of -p log s(m) - (1 - p) log s(-m): what the links `regret` and `partial_return` are compared by."""
    return float(np.mean(np.logaddexp(0, -margins) + (1 - labels) * margins))


def best_values(successors: Floats, weights: Floats, temperature: float) -> Floats:
    """V of states under the reward ``weights`` (d,), (s,): the softmax-weighted best of a library of policies.

    V = sum_pi softmax(v_pi / T)_pi v_pi with v_pi = psi_pi(s) . w (arXiv:2206.02231, appendix); T -> 0 is the maximum.

    Args:
        successors: (s, policies, d), expected sums of reward features.
    """
    values = successors @ weights
    scaled = values / temperature
    share = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: Floats = (share * values).sum(axis=1) / share.sum(axis=1)
    return result


def fit_regret_reward(
    features: tuple[Floats, Floats],
    starts: tuple[Floats, Floats],
    ends: tuple[Floats, Floats],
    labels: Floats,
    temperature: float,
    l2: float,
    seed: int,
    max_steps: int = 500,
    tries: int = 4,
) -> Floats:
    """Reward weights (d,) from preferences between segments by their regret, V* approximated by `best_values`.

    Args:
        features: sums of reward features along each side's segments, (n, d).
        starts, ends: successor features of each side's first and last states, (n, policies, d).
        labels: (n,) probability that the first side is preferred.
        tries: random starts, of which the lowest loss stays: the maximum over policies makes the problem non-convex.
    """
    import torch

    sums, first, last = (
        [torch.from_numpy(np.ascontiguousarray(side)) for side in each] for each in (features, starts, ends)
    )
    wanted = torch.from_numpy(labels)

    def value(successors: "torch.Tensor", w: "torch.Tensor") -> "torch.Tensor":
        values = successors @ w
        return (torch.softmax(values / temperature, dim=1) * values).sum(1)

    def loss(at: Tensors) -> "torch.Tensor":
        w = at["weights"]
        good, poor = (value(first[side], w) - (sums[side] @ w + value(last[side], w)) for side in (0, 1))
        return (soft_logistic(poor - good, wanted).sum() + 0.5 * l2 * (w**2).sum()) / len(wanted)

    width = features[0].shape[1]
    begins = [np.random.default_rng([seed, number]).normal(size=(width,)) for number in range(tries)]
    found = [minimise(loss, {"weights": start}, max_steps) for start in begins]
    return min(found, key=lambda each: each.loss).arrays["weights"]
