"""Losses of reward models as pure functions of rewards and of what is known of pairs: one value a pair, (n,).

The same functions fit heads on embeddings and fine-tune backbones. Tensors are of one dtype and device; ``p`` is the
probability that the chosen side is better, 1 for a plain label and 0.5 for a tie.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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
