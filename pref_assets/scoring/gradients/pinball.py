"""Linear quantile regression for many levels and many weightings at once."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def pinball(errors: Floats, level: float | Floats) -> Floats:
    """max(t u, (t - 1) u) of errors u = target - prediction at level t, elementwise."""
    result: Floats = np.maximum(level * errors, (level - 1) * errors)
    return result


def fit_quantiles(
    features: Floats,
    targets: Floats,
    weights: Floats,
    levels: Floats,
    l2: float,
    smoothing: float = 0.05,
    tolerance: float = 1e-5,
    max_steps: int = 100,
) -> Floats:
    """Weights ``w`` and intercepts ``b`` that minimise, for each column c of row weights and each level t,

        sum_i c_i pinball_t(y_i - b - w.x_i) / sum(c) + l2/2 |w|^2.

    The pinball loss is smoothed to t u + h log(1 + e^(-u/h)) (convolution with a logistic density; He et al., "Smoothed
    quantile regression with large-scale inference", arXiv:2012.05187), which makes it twice differentiable; h falls in
    steps from the spread of the targets to ``smoothing`` of it, each solved by Newton with conjugate gradients from the
    solution before. Targets are scaled to unit spread for that, so l2 and smoothing mean the same in any unit.

    Args:
        features: (n, d). targets: (n,). weights: (n, c) >= 0, no column all zero. levels: (t,) in (0, 1).
        tolerance: largest gradient norm of the result, in the scaled unit.

    Returns:
        (c, t, d + 1) float64, the intercept last.

    Raises:
        FloatingPointError: a head did not reach the tolerance in ``max_steps`` Newton steps.
    """
    center, spread = float(targets.mean()), float(targets.std()) or 1.0
    problem = _Problem(features, (targets - center) / spread, weights, levels, l2)
    heads = problem.start()
    width = 1.0
    while True:
        width = max(width / 4, smoothing)
        heads = _newton(problem, heads, width, tolerance if width == smoothing else 1e-3, max_steps)
        if width == smoothing:
            break
    heads *= spread
    heads[-1] += center
    result: Floats = heads.T.reshape(weights.shape[1], len(levels), -1)
    return result


class _Problem:
    """All heads in columns, (d + 1, c t): the intercept is the last row and bears no penalty."""

    def __init__(self, features: Floats, targets: Floats, weights: Floats, levels: Floats, l2: float) -> None:
        self.x = np.concatenate([features, np.ones((len(features), 1))], axis=1)
        self.y = targets[:, None]
        self.levels = np.tile(levels, weights.shape[1])[None, :]
        self.weights = np.repeat(weights / weights.sum(axis=0), len(levels), axis=1)
        self.l2 = np.full((self.x.shape[1], 1), l2)
        self.l2[-1] = 0

    def start(self) -> Floats:
        """The quantiles of all targets, whatever the features."""
        heads = np.zeros((self.x.shape[1], self.levels.shape[1]))
        heads[-1] = np.quantile(self.y[:, 0], self.levels[0])
        return heads

    def value(self, heads: Floats, width: float) -> Floats:
        errors = self.y - self.x @ heads
        smooth = self.levels * errors + width * np.logaddexp(0, -errors / width)
        result: Floats = (self.weights * smooth).sum(axis=0) + 0.5 * (self.l2 * heads**2).sum(axis=0)
        return result

    def slope(self, heads: Floats, width: float) -> tuple[Floats, Floats]:
        """Gradient (d + 1, heads), and the curvature of every row (n, heads)."""
        above = 0.5 * (1 - np.tanh(0.5 * (self.y - self.x @ heads) / width))
        gradient = self.x.T @ (self.weights * (above - self.levels)) + self.l2 * heads
        return gradient, self.weights * above * (1 - above) / width


def _newton(problem: _Problem, heads: Floats, width: float, tolerance: float, max_steps: int) -> Floats:
    for _ in range(max_steps):
        gradient, curvature = problem.slope(heads, width)
        size = np.linalg.norm(gradient, axis=0)
        if (size <= tolerance).all():
            return heads
        open_heads = size > tolerance
        step = _direction(problem, curvature, gradient, np.maximum(0.1 * size * np.minimum(size, 0.5), 0.1 * tolerance))
        heads = _searched(problem, heads, gradient, np.where(open_heads, step, 0), width)
    raise FloatingPointError(
        f"{int(open_heads.sum())} of {heads.shape[1]} quantile heads did not converge in {max_steps} steps; raise l2 "
        "or the smoothing"
    )


def _direction(problem: _Problem, curvature: Floats, gradient: Floats, goal: Floats) -> Floats:
    """Solves (X' diag(c) X + l2 + ridge) step = gradient for every head by preconditioned conjugate gradients."""
    # Where no target lies near a head's quantile its curvature vanishes; the small ridge keeps the step finite.
    diagonal = (problem.x**2).T @ curvature + problem.l2
    ridge = 1e-6 + 1e-3 * np.linalg.norm(gradient, axis=0)
    diagonal = diagonal + ridge
    step = np.zeros_like(gradient)
    residual = gradient.copy()
    scaled = residual / diagonal
    direction = scaled.copy()
    inner = (residual * scaled).sum(axis=0)
    for _ in range(2 * len(gradient)):
        product = problem.x.T @ (curvature * (problem.x @ direction)) + (problem.l2 + ridge) * direction
        along = (direction * product).sum(axis=0)
        length = np.divide(inner, along, out=np.zeros_like(inner), where=along > 0)
        step += length * direction
        residual -= length * product
        if (np.linalg.norm(residual, axis=0) <= goal).all():
            break
        scaled = residual / diagonal
        fresh = (residual * scaled).sum(axis=0)
        direction = scaled + np.divide(fresh, inner, out=np.zeros_like(fresh), where=inner > 0) * direction
        inner = fresh
    return step


def _searched(problem: _Problem, heads: Floats, gradient: Floats, step: Floats, width: float) -> Floats:
    """Halves each head's step until its objective falls enough (Armijo)."""
    before = problem.value(heads, width)
    decrease = (gradient * step).sum(axis=0)
    length = np.ones(heads.shape[1])
    slack = 1e-14 * np.maximum(np.abs(before), 1)
    for _ in range(40):
        moved = heads - length * step
        failed = problem.value(moved, width) > before - 1e-4 * length * decrease + slack
        if not failed.any():
            break
        length = np.where(failed, length / 2, length)
    return moved
