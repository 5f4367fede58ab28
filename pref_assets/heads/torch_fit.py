"""Small fits in torch, deterministic and on the CPU."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pref_assets.heads.base import Floats

if TYPE_CHECKING:
    import torch


def minimise(
    losses: "Callable[..., torch.Tensor]",
    width: int,
    inputs: tuple[Floats, ...],
    l2: float,
    start: Floats | None = None,
    tolerance: float = 1e-9,
    max_steps: int = 1000,
) -> Floats:
    """The vector w (width,) that minimises sum(losses(w, *inputs)) + l2/2 |w - start|^2, by L-BFGS in float64.

    Args:
        losses: differentiable losses (n,) of w and the inputs as tensors; convex in w.
        start: where to begin, and what the penalty pulls towards; 0 if left out.
        tolerance: largest entry of the gradient of the mean over rows.

    Raises:
        FloatingPointError: the tolerance was not reached in ``max_steps`` steps.
    """
    import torch

    rows = max(len(inputs[0]), 1)
    tensors = [torch.from_numpy(np.ascontiguousarray(each)) for each in inputs]
    origin = torch.zeros(width, dtype=torch.float64) if start is None else torch.from_numpy(start.copy())
    weights = origin.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=max_steps, max_eval=2 * max_steps, tolerance_grad=tolerance, tolerance_change=0,
        history_size=20, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> "torch.Tensor":
        optimizer.zero_grad()
        value = (losses(weights, *tensors).sum() + 0.5 * l2 * (weights - origin).square().sum()) / rows
        value.backward()
        return value

    optimizer.step(closure)
    closure()
    assert weights.grad is not None
    # The line search stops where float64 cannot tell values apart any more, which may be a little above the tolerance.
    if not float(weights.grad.abs().max()) <= 1e3 * tolerance:
        raise FloatingPointError(f"a linear head did not converge in {max_steps} steps; raise l2 (now {l2:g})")
    return weights.detach().numpy().copy()
