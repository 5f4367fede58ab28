"""What keeps a policy close to its reference: f-divergences, as scores of log-ratios."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

FDivergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
LARGEST_EXPONENT = 80.0
"""Exponentials stay representable in float32."""


def score(ratio: "torch.Tensor", divergence: FDivergence, alpha: float) -> "torch.Tensor":
    """f'(pi / ref) of sequences, (n,), which takes the place of their log-ratio r = log pi - log ref, (n,).

    f-DPO (Wang et al. 2023, arXiv:2309.16240, table 1): a policy that maximises reward minus beta times the
    f-divergence has reward beta f'(pi / ref) plus a constant of the prompt.

    * ``reverse_kl``: r, which is DPO itself
    * ``forward_kl``: 1 - exp(-r)
    * ``js_divergence``: log 2 + log S(r)
    * ``alpha_divergence``: (exp((alpha - 1) r) - 1) / (alpha - 1), and r at ``alpha`` = 1; 0 is the forward KL

    Constants are those that make every score 0 at r = 0; they matter where scores are divided by a length.
    """
    import math

    import torch
    from torch.nn.functional import logsigmoid

    if divergence == "forward_kl":
        return -torch.expm1((-ratio).clamp(max=LARGEST_EXPONENT))
    if divergence == "js_divergence":
        return math.log(2) + logsigmoid(ratio)
    if divergence == "alpha_divergence" and alpha != 1:
        return torch.expm1(((alpha - 1) * ratio).clamp(max=LARGEST_EXPONENT)) / (alpha - 1)
    return ratio
