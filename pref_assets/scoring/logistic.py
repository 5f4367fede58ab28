"""Many regularised logistic regressions at once: the numerical core of linear Bradley-Terry models."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def fit_heads(
    differences: Floats,
    p_chosen: Floats,
    weights: Floats,
    l2: float,
    tolerance: float = 1e-8,
    max_steps: int = 50,
) -> Floats:
    """Heads ``w`` that minimise, each for its own row weights ``c``,

        sum_i c_i [-p_i log s(w.x_i) - (1 - p_i) log s(-w.x_i)] + l2/2 |w|^2,   s the logistic function.

    This is the Bradley-Terry likelihood of differences x = e(chosen) - e(rejected), without intercept, so that
    swapping the two sides flips the sign. All heads are solved together by Newton steps with conjugate gradients:
    every product is one matrix product over all heads.

    Args:
        differences: (n, d). p_chosen: (n,) in [0, 1]. weights: (n, h), one column a head.
        tolerance: largest gradient norm of the result, relative to the one at zero.

    Returns:
        (d, h) float64.

    Raises:
        FloatingPointError: a head did not reach the tolerance in ``max_steps`` Newton steps.
    """
    targets = p_chosen[:, None]
    heads = np.zeros((differences.shape[1], weights.shape[1]))
    value = _objective(differences @ heads, targets, weights) + _penalty(heads, l2)
    goal: Floats | None = None
    for _ in range(max_steps):
        probability = _sigmoid(differences @ heads)
        gradient = differences.T @ (weights * (probability - targets)) + l2 * heads
        size = np.linalg.norm(gradient, axis=0)
        goal = np.maximum(tolerance * size, 1e-12) if goal is None else goal
        if (size <= goal).all():
            return heads
        curvature = weights * probability * (1 - probability)
        step = _newton_step(
            differences, curvature, gradient, l2, np.maximum(goal * 0.1, 0.1 * size * np.minimum(size, 1))
        )
        heads, value = _line_search(differences, targets, weights, l2, heads, value, gradient, step)
    raise FloatingPointError(f"logistic heads did not converge in {max_steps} steps; raise l2 (now {l2:g})")


def _newton_step(x: Floats, curvature: Floats, gradient: Floats, l2: float, goal: Floats) -> Floats:
    """Solves (x' diag(c_h) x + l2) step_h = gradient_h for every head by conjugate gradients."""
    step = np.zeros_like(gradient)
    residual = gradient.copy()
    direction = residual.copy()
    squared = (residual**2).sum(axis=0)
    for _ in range(2 * x.shape[1]):
        product = x.T @ (curvature * (x @ direction)) + l2 * direction
        scale = np.divide(squared, (direction * product).sum(axis=0), out=np.zeros_like(squared), where=squared > 0)
        step += scale * direction
        residual -= scale * product
        fresh = (residual**2).sum(axis=0)
        if (np.sqrt(fresh) <= goal).all():
            break
        direction = residual + np.divide(fresh, squared, out=np.zeros_like(fresh), where=squared > 0) * direction
        squared = fresh
    return step


def _line_search(
    x: Floats, targets: Floats, weights: Floats, l2: float, heads: Floats, value: Floats, gradient: Floats, step: Floats
) -> tuple[Floats, Floats]:
    """Halves each head's step until its objective falls enough (Armijo)."""
    decrease = (gradient * step).sum(axis=0)
    length = np.ones(heads.shape[1])
    slack = 1e-12 * np.maximum(np.abs(value), 1)
    for _ in range(40):
        moved = heads - length * step
        reached = _objective(x @ moved, targets, weights) + _penalty(moved, l2)
        failed = reached > value - 1e-4 * length * decrease + slack
        if not failed.any():
            break
        length = np.where(failed, length / 2, length)
    return moved, reached


def _objective(margins: Floats, targets: Floats, weights: Floats) -> Floats:
    # -p log s(m) - (1-p) log s(-m) = log(1 + e^-m) + (1-p) m
    losses: Floats = (weights * (np.logaddexp(0, -margins) + (1 - targets) * margins)).sum(axis=0)
    return losses


def _penalty(heads: Floats, l2: float) -> Floats:
    penalty: Floats = 0.5 * l2 * (heads**2).sum(axis=0)
    return penalty


def _sigmoid(values: Floats) -> Floats:
    small = np.exp(-np.abs(values))
    result: Floats = np.where(values >= 0, 1, small) / (1 + small)
    return result
