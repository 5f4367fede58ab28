"""Minimises a smooth loss over named arrays: the shared solver of heads that are small enough for whole-batch steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
Tensors = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True)
class Minimum:
    """Where a search ended: the arrays, the loss there, and whether it stopped for want of progress."""

    arrays: dict[str, Floats]
    loss: float
    converged: bool


def minimise(
    loss: Callable[[Tensors], "torch.Tensor"],
    start: Mapping[str, Floats],
    max_steps: int,
    tolerance: float = 1e-7,
    at_least: Mapping[str, Floats] | None = None,
    at_most: Mapping[str, Floats] | None = None,
) -> Minimum:
    """A local minimum of ``loss`` by L-BFGS-B (Byrd et al., 1995) in float64, the same for equal inputs.

    Args:
        loss: a scalar, differentiable function of float64 tensors with the names and shapes of ``start``.
        max_steps: most iterations; a search that reaches them gives what it has, with ``converged`` false.
        tolerance: largest entry of the projected gradient at the end.
        at_least, at_most: bounds of some arrays, in their shapes; infinite where there is none.

    Raises:
        FloatingPointError: the loss is NaN or infinite at the start or on the way.
    """
    import torch
    from scipy.optimize import minimize

    shapes = {name: np.shape(each) for name, each in start.items()}

    def unpacked(flat: Floats) -> dict[str, Floats]:
        arrays, place = {}, 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            arrays[name] = flat[place : place + size].reshape(shape)
            place += size
        return arrays

    def packed(arrays: Mapping[str, Floats]) -> Floats:
        return np.concatenate([np.asarray(arrays[name], np.float64).ravel() for name in shapes])

    def value(flat: Floats) -> tuple[float, Floats]:
        tensors = {
            name: torch.tensor(each, dtype=torch.float64, requires_grad=True) for name, each in unpacked(flat).items()
        }
        found = loss(tensors)
        if not bool(torch.isfinite(found)):
            raise FloatingPointError(
                f"the loss is {float(found.detach())}; raise l2, or look for huge values in the embeddings"
            )
        slopes = torch.autograd.grad(found, list(tensors.values()), allow_unused=True, materialize_grads=True)
        return float(found.detach()), np.concatenate([each.numpy().ravel() for each in slopes])

    bounds = None
    if at_least is not None or at_most is not None:
        low = packed({name: (at_least or {}).get(name, np.full(shape, -np.inf)) for name, shape in shapes.items()})
        high = packed({name: (at_most or {}).get(name, np.full(shape, np.inf)) for name, shape in shapes.items()})
        bounds = np.stack([low, high], axis=1)
    options = {"maxiter": max_steps, "maxfun": 4 * max_steps + 20, "gtol": tolerance, "ftol": 1e-14, "maxcor": 20}
    found = minimize(value, packed(start), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return Minimum({name: each.copy() for name, each in unpacked(found.x).items()}, float(found.fun), found.status == 0)


def soft_logistic(margins: "torch.Tensor", p_chosen: "torch.Tensor") -> "torch.Tensor":
    """-p log s(m) - (1 - p) log s(-m) of margins and soft labels, elementwise (Bradley & Terry, 1952)."""
    from torch.nn.functional import softplus

    return softplus(-margins) + (1 - p_chosen) * margins
