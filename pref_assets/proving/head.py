"""The reward head that every subset trains alike: what is compared is the data, never the training."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def fit_head(
    differences: Floats,
    p_chosen: Floats,
    weights: Floats,
    margins: Floats,
    l2: float,
    tolerance: float = 1e-8,
    max_steps: int = 60,
) -> Floats:
    """The linear Bradley-Terry head ``w`` (d,) that minimises, with d_i = w . x_i and s the logistic function,

        sum_i c_i [-p_i log s(d_i - m_i) - (1 - p_i) log s(-d_i - m_i)] + l2/2 |w|^2.

    Weights are scaled to a mean of 1, so that the number of pairs, and not the scale of their weights, decides how
    much the penalty counts. Newton steps with the exact Hessian, halved until the objective falls.

    Args:
        differences: x = e(chosen) - e(rejected), (n, d).
        p_chosen, weights, margins: (n,); margins as in arXiv:2401.06080, equation 9, for either label.

    Raises:
        ValueError: there is no pair to fit on.
        FloatingPointError: no convergence in ``max_steps``.
    """
    if not len(differences):
        raise ValueError("a head needs at least one pair")
    shares = weights * (len(weights) / weights.sum())
    head = np.zeros(differences.shape[1])
    value = _objective(differences, p_chosen, shares, margins, l2, head)
    start = None
    for _ in range(max_steps):
        scores = differences @ head
        wrong_chosen, wrong_rejected = _sigmoid(margins - scores), _sigmoid(margins + scores)
        slope = shares * ((1 - p_chosen) * wrong_rejected - p_chosen * wrong_chosen)
        gradient = differences.T @ slope + l2 * head
        size = float(np.linalg.norm(gradient))
        start = start or max(size, 1e-12)
        if size <= tolerance * start:
            return head
        bend = p_chosen * wrong_chosen * (1 - wrong_chosen) + (1 - p_chosen) * wrong_rejected * (1 - wrong_rejected)
        hessian = (differences * (shares * bend)[:, None]).T @ differences + l2 * np.eye(len(head))
        step = np.linalg.solve(hessian, gradient)
        head, value = _line_search(differences, p_chosen, shares, margins, l2, head, value, gradient, step)
    raise FloatingPointError(f"the head did not converge in {max_steps} steps; raise l2 (now {l2:g})")


def _line_search(
    x: Floats,
    p: Floats,
    shares: Floats,
    margins: Floats,
    l2: float,
    head: Floats,
    value: float,
    slope: Floats,
    step: Floats,
) -> tuple[Floats, float]:
    decrease, length = float(slope @ step), 1.0
    slack = 1e-12 * max(abs(value), 1.0)
    for _ in range(40):
        moved = head - length * step
        reached = _objective(x, p, shares, margins, l2, moved)
        if reached <= value - 1e-4 * length * decrease + slack:
            break
        length /= 2
    return moved, reached


def _objective(x: Floats, p: Floats, shares: Floats, margins: Floats, l2: float, head: Floats) -> float:
    scores = x @ head
    losses = p * np.logaddexp(0, margins - scores) + (1 - p) * np.logaddexp(0, margins + scores)
    return float(shares @ losses) + 0.5 * l2 * float(head @ head)


def _sigmoid(values: Floats) -> Floats:
    small = np.exp(-np.abs(values))
    result: Floats = np.where(values >= 0, 1, small) / (1 + small)
    return result
