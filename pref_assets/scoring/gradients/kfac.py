"""Kronecker-factored curvature: the inverse Hessian of a layer from two small inverses."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def kfac_inverse_product(inputs: Floats, outputs: Floats, gradient: Floats, damping: float = 0.0) -> Floats:
    """(A + pi r I)^-1 (x) (B + r / pi I)^-1 applied to a gradient, r = sqrt(damping), for a linear layer y = W x.

    With A = E[x x'] and B = E[delta delta'], delta the gradient at y, the layer's curvature is about A (x) B (Martens &
    Grosse, arXiv:1503.05671, section 3; Quad, arXiv:2409.16986, uses it for attention), and with column-stacking vec,
    (A (x) B)^-1 vec(G) = vec(B^-1 G A^-1). The damping is split over the factors (section 6.3): pi^2 is
    the mean eigenvalue of A over that of B. The head of this room needs none of
    it, its Hessian is exact; this is for layers that are too wide for that. O(p^3 + q^3).

    Args:
        inputs: A, (p, p), symmetric. outputs: B, (q, q), symmetric. gradient: G, (q, p), of the shape of W.

    Returns:
        (q, p). Raises ``numpy.linalg.LinAlgError`` when a damped factor is singular.
    """
    root = np.sqrt(damping)
    means = np.trace(inputs) / len(inputs), np.trace(outputs) / len(outputs)
    pi = np.sqrt(means[0] / means[1]) if root and min(means) > 0 else 1.0
    left = np.linalg.solve(outputs + root / pi * np.eye(len(outputs)), gradient)
    result: Floats = np.linalg.solve(inputs + pi * root * np.eye(len(inputs)), left.T).T
    return result
