"""How well a policy that met its objective exactly would rank: Chen et al., "Preference Learning Algorithms Do Not
Learn Preference Rankings" (NeurIPS 2024, arXiv:2405.19534), theorem 3.1."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CERTAIN = 0.999
"""What a share of 1 counts as, so that its odds are finite; the paper's value."""


def ideal_log_ratio(reference: Floats, p_chosen: Floats, beta: float, certain: float = CERTAIN) -> Floats:
    """log p*(chosen) - log p*(rejected) in nats, (n,), of the policy that minimises the DPO loss.

    That policy has p*(chosen) / p*(rejected) = reference ratio * (a / (1 - a))^(1 / beta), a the share of people for
    the chosen side: the reference's mistake is mended only as far as 1 / beta of the log odds reaches.

    Args:
        reference: (n,) log ref(chosen) - log ref(rejected).
        p_chosen: (n,) share for the chosen side, cut to [1 - certain, certain].
        beta: of the objective.
    """
    share = np.clip(p_chosen, 1 - certain, certain)
    ratio: Floats = reference + (np.log(share) - np.log1p(-share)) / beta
    return ratio


def ipo_threshold(tau: float) -> float:
    """Least log ref(chosen) - log ref(rejected) at which the policy that minimises the IPO loss exactly ranks a pair
    right: its log-ratio moves by 1 / (2 tau)."""
    return -1 / (2 * tau)
