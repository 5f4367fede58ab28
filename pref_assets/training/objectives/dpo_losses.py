"""The losses of DPO's family as pure functions: from scores of pairs to one loss each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

LossType = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
]
OF_DIFFERENCES: frozenset[LossType] = frozenset(
    {"sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft"}
)
"""Look at the difference of two scores only (or at none), so that an f-divergence's constant of the prompt cancels."""
WITH_MARGIN: frozenset[LossType] = frozenset({"sigmoid", "sigmoid_norm", "hinge", "exo_pair", "robust", "discopop"})
"""Grow or fall with the difference of rewards, which a margin can be taken from."""
WITH_SMOOTHING: frozenset[LossType] = frozenset({"sigmoid", "robust", "exo_pair", "aot", "aot_unpaired"})
SORTED: frozenset[LossType] = frozenset({"aot", "aot_unpaired"})


@dataclass(frozen=True)
class Terms:
    """What the losses of n pairs are made of; every tensor is (n,).

    Attributes:
        z: beta times the difference of scores, less the margin.
        mean_z: the same of scores per token.
        mean_difference: difference of scores per token.
        chosen, rejected: log-ratios of policy and reference.
        difference: log-probability of chosen less that of rejected under the policy.
        likelihood: cross-entropy of the chosen side, as its share of the step's mean per token; null unless asked for.
        columns: statistics of the step, by the names in ``DPO.batch_columns``.
        beta: strength of the pull towards the reference.
        smoothing: assumed share of flipped labels.
        tau: temperature of ``discopop``.
    """

    z: "torch.Tensor"
    mean_z: "torch.Tensor"
    mean_difference: "torch.Tensor"
    chosen: "torch.Tensor"
    rejected: "torch.Tensor"
    difference: "torch.Tensor"
    likelihood: "torch.Tensor | None"
    columns: "Mapping[str, torch.Tensor]"
    beta: float
    smoothing: float
    tau: float


def smoothed(z: "torch.Tensor", smoothing: float) -> "torch.Tensor":
    """-(1-e) log S(z) - e log S(-z), (n,)."""
    from torch.nn.functional import logsigmoid

    return -(1 - smoothing) * logsigmoid(z) - smoothing * logsigmoid(-z)


def sigmoid(t: Terms) -> "torch.Tensor":
    """-(1-e) log S(z) - e log S(-z): DPO (arXiv:2305.18290, eq. 7), conservative with e > 0."""
    return smoothed(t.z, t.smoothing)


def sigmoid_norm(t: Terms) -> "torch.Tensor":
    """-log S(z per token): length-normalised DPO (Tulu 3, arXiv:2411.15124, eq. 6)."""
    return smoothed(t.mean_z, 0.0)


def hinge(t: Terms) -> "torch.Tensor":
    """max(0, 1 - z): SLiC (arXiv:2305.10425) and RSO (arXiv:2309.06657)."""
    return (1 - t.z).relu()


def ipo(t: Terms) -> "torch.Tensor":
    """(difference per token - 1 / (2 beta))^2: IPO (arXiv:2310.12036, eq. 17), per token as its authors ran it."""
    return (t.mean_difference - 1 / (2 * t.beta)) ** 2


def exo_pair(t: Terms) -> "torch.Tensor":
    """KL of (S(z), S(-z)) to (1-e, e): EXO (arXiv:2402.00856, eq. 16)."""
    import math

    from torch.nn.functional import logsigmoid

    right, wrong = logsigmoid(t.z), logsigmoid(-t.z)
    return t.z.sigmoid() * (right - math.log1p(-t.smoothing)) + (-t.z).sigmoid() * (wrong - math.log(t.smoothing))


def nca_pair(t: Terms) -> "torch.Tensor":
    """-log S(b r+) - log S(-b r+) / 2 - log S(-b r-) / 2: NCA (arXiv:2402.05369)."""
    from torch.nn.functional import logsigmoid

    chosen, rejected = t.beta * t.chosen, t.beta * t.rejected
    return -logsigmoid(chosen) - 0.5 * logsigmoid(-chosen) - 0.5 * logsigmoid(-rejected)


def robust(t: Terms) -> "torch.Tensor":
    """[-(1-e) log S(z) + e log S(-z)] / (1 - 2e): unbiased under that flip rate (arXiv:2403.00409, eq. 13)."""
    from torch.nn.functional import logsigmoid

    e = t.smoothing
    return (-(1 - e) * logsigmoid(t.z) + e * logsigmoid(-t.z)) / (1 - 2 * e)


def bco_pair(t: Terms) -> "torch.Tensor":
    """-log S(b r+) - log S(-b r-): binary classification (arXiv:2404.04656) without a shift; ``bco`` has one."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(t.beta * t.chosen) - logsigmoid(-t.beta * t.rejected)


def sppo_hard(t: Terms) -> "torch.Tensor":
    """(r+ - 1/(2b))^2 + (r- + 1/(2b))^2: SPPO (arXiv:2405.00675, eq. 4.7) with win rates 1 and 0."""
    target = 1 / (2 * t.beta)
    return (t.chosen - target) ** 2 + (t.rejected + target) ** 2


def aot(t: Terms) -> "torch.Tensor":
    """Sigmoid loss of u less the step's v of the same rank, u and v the differences under policy and reference:
    alignment by optimal transport (arXiv:2406.05882), paired."""
    return smoothed(t.beta * (t.difference - t.columns["aot_reference"]), t.smoothing)


def aot_unpaired(t: Terms) -> "torch.Tensor":
    """Sigmoid loss of r+ less the step's r- of the same rank (arXiv:2406.05882).

    The r- of the same rank belongs to another pair. Its gradient is added at that pair, in a term whose value is 0.
    """
    loss = smoothed(t.beta * (t.chosen - t.columns["aot_rejected"]), t.smoothing)
    mirrored = smoothed(t.beta * (t.columns["aot_chosen"] - t.rejected), t.smoothing)
    return loss + mirrored - mirrored.detach()


def apo_zero(t: Terms) -> "torch.Tensor":
    """1 - S(b r+) + S(b r-): APO (arXiv:2408.06266, eq. 7), where chosen sides beat the model's own answers."""
    return (-t.beta * t.chosen).sigmoid() + (t.beta * t.rejected).sigmoid()


def apo_down(t: Terms) -> "torch.Tensor":
    """S(b r+) + 1 - S(b (r+ - r-)): APO (arXiv:2408.06266, eq. 8), where the model's own answers beat both sides."""
    return (t.beta * t.chosen).sigmoid() + (-t.beta * (t.chosen - t.rejected)).sigmoid()


def discopop(t: Terms) -> "torch.Tensor":
    """(1-m)(-log S(z)) + m exp(-z) with m = S(z / tau): the found loss of DiscoPOP (arXiv:2406.08414, eq. 5)."""
    from torch.nn.functional import logsigmoid

    m = (t.z / t.tau).sigmoid()
    # m exp(-z) in one exponential: the product overflows where its factors do not matter.
    return (1 - m) * -logsigmoid(t.z) + (logsigmoid(t.z / t.tau) - t.z).exp()


def sft(t: Terms) -> "torch.Tensor":
    """Cross-entropy of the chosen side, per token of the step."""
    assert t.likelihood is not None
    return t.likelihood


LOSSES: Mapping[LossType, Callable[[Terms], "torch.Tensor"]] = {
    "sigmoid": sigmoid,
    "hinge": hinge,
    "ipo": ipo,
    "exo_pair": exo_pair,
    "nca_pair": nca_pair,
    "robust": robust,
    "bco_pair": bco_pair,
    "sppo_hard": sppo_hard,
    "aot": aot,
    "aot_unpaired": aot_unpaired,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "discopop": discopop,
    "sft": sft,
    "sigmoid_norm": sigmoid_norm,
}
