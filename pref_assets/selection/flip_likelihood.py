"""The likelihood of labels that some unseen process flips: the numerical core of ``flip_model``."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TwoHeads:
    """A preference head ``w`` (d,) on e(chosen) - e(rejected), and a flip head ``v`` (m,) with ``bias`` on features of
    the pair that its order does not change."""

    w: Floats
    v: Floats
    bias: float

    def margins(self, differences: Floats) -> Floats:
        """R = w . x, (n,): by how much the chosen side wins."""
        found: Floats = differences @ self.w
        return found

    def flip_logits(self, features: Floats) -> Floats:
        """g = v . z + b, (n,): log-odds that a label was flipped, before it is seen."""
        found: Floats = features @ self.v + self.bias
        return found


def fit_two_heads(
    differences: Floats,
    features: Floats,
    p_chosen: Floats,
    prior: float,
    l2: float,
    l2_flip: float,
    max_steps: int = 500,
    tolerance: float = 1e-6,
) -> TwoHeads:
    """Heads that minimise the summed ``negative_log_likelihood`` + l2/2 |w|^2 + l2_flip/2 (|v|^2 + (b - b_0)^2), with
    b_0 the log-odds of ``prior``, by L-BFGS from w = v = 0 and b = b_0. The problem is not convex (w and g with both
    signs turned are as likely); the start, which trusts the labels, chooses the side.

    Args:
        differences: (n, d). features: (n, m). p_chosen: (n,) in [0, 1], the label.
        tolerance: largest component of the gradient, each in units of its curvature, for the square root of pairs.

    Raises:
        FloatingPointError: no minimum within ``max_steps``.
    """
    from scipy.optimize import minimize

    d, m = differences.shape[1], features.shape[1]
    start = np.zeros(d + m + 1)
    start[-1] = np.log(prior / (1 - prior))
    anchor = start.copy()
    strength = np.concatenate([np.full(d, l2), np.full(m + 1, l2_flip)])

    # Dimensions seldom used are as steep as the others when each is measured in its own curvature at the start.
    squares = np.concatenate([(differences**2).sum(axis=0), (features**2).sum(axis=0), [len(features)]])
    scale = 1 / np.sqrt(squares / 4 + strength)

    def objective(scaled: Floats) -> tuple[float, Floats]:
        heads = scaled * scale
        margins, logits = differences @ heads[:d], features @ heads[d:-1] + heads[-1]
        loss, by_margin, by_logit = negative_log_likelihood(margins, logits, p_chosen)
        moved = heads - anchor
        slope = np.concatenate([differences.T @ by_margin, features.T @ by_logit, [by_logit.sum()]])
        return float(loss.sum() + 0.5 * (strength * moved**2).sum()), (slope + strength * moved) * scale

    goal = tolerance * np.sqrt(len(p_chosen))
    options = {"maxiter": max_steps, "maxfun": 2 * max_steps, "gtol": goal, "ftol": 1e-10}
    found = minimize(objective, start / scale, jac=True, method="L-BFGS-B", options=options)
    if not found.success:
        raise FloatingPointError(f"flip_model did not converge in {max_steps} steps: {found.message}; raise l2")
    heads = found.x * scale
    return TwoHeads(heads[:d], heads[d:-1], float(heads[-1]))


def negative_log_likelihood(margins: Floats, logits: Floats, p_chosen: Floats) -> tuple[Floats, Floats, Floats]:
    """-log P(label) of each pair with P(chosen) = (1 - e) s(R) + e s(-R), e = s(g), s the logistic function; and its
    derivatives by R and by g. Every array has shape (n,). Without flips (g to minus infinity) this is Bradley-Terry's.

    A soft label counts as both labels, weighted: -p log P(chosen) - (1 - p) log P(rejected).
    """
    loss, by_margin, by_logit = (np.zeros_like(margins) for _ in range(3))
    for sign, weight in ((1.0, p_chosen), (-1.0, 1 - p_chosen)):
        right = log_sigmoid(-logits) + log_sigmoid(sign * margins)
        wrong = log_sigmoid(logits) + log_sigmoid(-sign * margins)
        total = np.logaddexp(right, wrong)
        q = np.exp(wrong - total)
        loss -= weight * total
        # d log s(y) = s(-y) dy, weighed by how likely each of the two ways to this label is.
        by_margin -= weight * sign * ((1 - q) * sigmoid(-sign * margins) - q * sigmoid(sign * margins))
        by_logit -= weight * (q * sigmoid(-logits) - (1 - q) * sigmoid(logits))
    return loss, by_margin, by_logit


def flip_probability(margins: Floats, logits: Floats) -> Floats:
    """P(flipped | the label says that the chosen side won), (n,): e s(-R) over (1 - e) s(R) + e s(-R)."""
    right = log_sigmoid(-logits) + log_sigmoid(margins)
    wrong = log_sigmoid(logits) + log_sigmoid(-margins)
    found: Floats = np.exp(wrong - np.logaddexp(right, wrong))
    return found


def sigmoid(values: Floats) -> Floats:
    found: Floats = np.exp(log_sigmoid(values))
    return found


def log_sigmoid(values: Floats) -> Floats:
    found: Floats = -np.logaddexp(0, -values)
    return found
