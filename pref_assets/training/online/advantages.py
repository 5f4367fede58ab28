"""By how much an answer was better than the policy's other answers to the same prompt."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Baseline = Literal["mean", "others", "normalised"]


def advantages(rewards: Sequence[float], baseline: Baseline, min_std: float) -> NDArray[np.float64]:
    """Advantages of the n answers of a group, (n,); they sum to 0. Zeros where the rewards do not differ.

    Args:
        rewards: (n,), n > 1 for ``others``.
        baseline: ``mean``: r - mean(r). ``others``: r minus the mean of the other rewards, n/(n-1) times that (RLOO,
            arXiv:2402.14740 eq. 8). ``normalised``: (r - mean) / max(std, ``min_std``), std the population's (GRPO,
            arXiv:2402.03300 section 4.1.2).
        min_std: least divisor: rewards that differ by next to nothing must not get large advantages.
    """
    from pref_assets.scoring.reward.groups import group_std

    values = np.asarray(rewards, dtype=np.float64)
    std = group_std(values.tolist())
    if not std:
        return np.zeros(len(values))
    centred = values - values.mean()
    if baseline == "mean":
        return centred
    if baseline == "others":
        return centred * len(values) / (len(values) - 1)
    return centred / max(std, min_std)
