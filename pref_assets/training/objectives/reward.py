"""Losses of reward models as pure functions of rewards and of what is known of pairs: one value a pair, (n,).

The same functions fit heads on embeddings and fine-tune backbones. Tensors are of one dtype and device; ``p`` is the
probability that the chosen side is better, 1 for a plain label and 0.5 for a tie.
"""

import math
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    import torch

    from pref_assets.heads.base import Floats

Values = TypeVar("Values", "torch.Tensor", "Floats")


def bradley_terry(
    chosen: "torch.Tensor",
    rejected: "torch.Tensor",
    p: "torch.Tensor | float" = 1.0,
    *,
    margin: "torch.Tensor | float" = 0.0,
    scale: "torch.Tensor | float" = 1.0,
    center: float = 0.0,
) -> "torch.Tensor":
    """scale · [-p log s(d) - (1 - p) log s(-d)] + center (chosen + rejected)², d = chosen - rejected - margin.

    Plain and with soft labels: Bradley & Terry 1952. ``margin``: Llama 2 (arXiv:2307.09288, eq. 2), Wang et al.
    (arXiv:2401.06080, section 2.4) and HelpSteer2-Preference (arXiv:2410.01257). ``scale``: the scaled loss of the
    latter, a weight of each pair's own loss, never of the mean. ``center`` keeps rewards around zero
    (arXiv:2312.09244).
    """
    from torch.nn.functional import logsigmoid

    d = chosen - rejected - margin
    return scale * (-p * logsigmoid(d) - (1 - p) * logsigmoid(-d)) + center * (chosen + rejected) ** 2


def rao_kupper(chosen: "torch.Tensor", rejected: "torch.Tensor", p: "torch.Tensor", threshold: float) -> "torch.Tensor":
    """Bradley-Terry with ties (Rao & Kupper 1967): P(better) = s(d - t), P(tie) = (e^2t - 1) s(d - t) s(-d - t).

    A pair with p = 0.5 is a tie and its loss -log P(tie); of any other the loss is -p log s(d - t) - (1 - p)
    log s(-d - t). ``threshold`` t > 0 is the margin, in log-odds, below which raters often see no difference.
    """
    import torch
    from torch.nn.functional import logsigmoid

    d = chosen - rejected
    better, worse = logsigmoid(d - threshold), logsigmoid(-d - threshold)
    tie = -(math.log(math.expm1(2 * threshold)) + better + worse)
    return torch.where(p == 0.5, tie, -p * better - (1 - p) * worse)


def regression(
    chosen: "torch.Tensor", rejected: "torch.Tensor", target_chosen: "torch.Tensor", target_rejected: "torch.Tensor"
) -> "torch.Tensor":
    """Half the squared errors of both rewards (HelpSteer2, arXiv:2406.08673, section 3.1)."""
    return 0.5 * ((chosen - target_chosen) ** 2 + (rejected - target_rejected) ** 2)


def extrapolated(start: Values, end: Values, alpha: float) -> Values:
    """start + (1 + alpha) (end - start): ExPO (Zheng et al., arXiv:2404.16792, eq. 1); alpha 0 gives ``end``."""
    return start + (1 + alpha) * (end - start)


GaussianForm = Literal["nll_exp", "exp_nll"]
Quadrature = Literal["gauss_hermite", "mc"]


def normal_points(quadrature: Quadrature, points: int, seed: int = 0) -> "tuple[torch.Tensor, torch.Tensor]":
    """Points of a standard normal and the logarithms of their weights, (points,) float64 each: those of Gauss-Hermite,
    or as many draws of equal weight."""
    import numpy as np
    import torch

    if quadrature == "mc":
        draws = torch.randn(points, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return draws, torch.full((points,), -math.log(points), dtype=torch.float64)
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return torch.from_numpy(nodes), torch.from_numpy(np.log(weights) - 0.5 * math.log(2 * math.pi))


def gaussian_bradley_terry(
    mean: "torch.Tensor",
    spread: "torch.Tensor",
    p: "torch.Tensor | float",
    form: GaussianForm,
    points: "tuple[torch.Tensor, torch.Tensor]",
) -> "torch.Tensor":
    """Bradley-Terry of a margin z that is normal with ``mean`` and ``spread``, (n,) each (EditReward,
    arXiv:2509.26346 [mem]).

    ``nll_exp``, the paper's: -p log E s(z) - (1 - p) log E s(-z). ``exp_nll``, its code's: the expected loss, which
    is larger (Jensen) and punishes spread everywhere. Without spread both are ``bradley_terry``.

    Args:
        points: of ``normal_points``.
    """
    import torch
    from torch.nn.functional import logsigmoid

    nodes, logs = (each.to(mean) for each in points)
    z = mean[:, None] + spread[:, None] * nodes
    if form == "exp_nll":
        better, worse = ((logs.exp() * logsigmoid(side)).sum(1) for side in (z, -z))
    else:
        better, worse = (torch.logsumexp(logs + logsigmoid(side), 1) for side in (z, -z))
    return -p * better - (1 - p) * worse
