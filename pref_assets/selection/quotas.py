"""How many to take of each group, exactly."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pref_assets.pool import seeded_hash

Share = Literal["proportional", "equal"]
Counts = NDArray[np.int64]


def quotas(names: Sequence[str], sizes: Counts, total: int, share: Share, seed: int) -> Counts:
    """How many of ``total`` each group gives, (g,); they sum to ``total`` and no group gives more than it has.

    ``proportional`` shares by size, ``equal`` gives each group the same, and what a small group cannot give is shared
    equally by the others. Fractions go to the largest remainders (Hare-Niemeyer), equal ones in an order drawn from
    the seed and the groups' names.

    Raises:
        ValueError: the groups together hold fewer than ``total``.
    """
    if total > sizes.sum():
        raise ValueError(f"{total} are to be taken of groups that hold only {int(sizes.sum())}")
    if share == "proportional":
        return largest_remainder(names, sizes.astype(np.float64), total, seed)
    given = np.zeros(len(sizes), dtype=np.int64)
    open_groups = np.flatnonzero(sizes > 0)
    while (left := total - int(given.sum())) and len(open_groups):
        small = open_groups[sizes[open_groups] <= left // len(open_groups)]
        if not len(small):
            part = largest_remainder([names[g] for g in open_groups.tolist()], np.ones(len(open_groups)), left, seed)
            given[open_groups] = part
            break
        # Groups too small for an equal share give all, and the others share what is then left.
        given[small] = sizes[small]
        open_groups = np.setdiff1d(open_groups, small)
    return given


def largest_remainder(names: Sequence[str], weights: NDArray[np.float64], total: int, seed: int) -> Counts:
    """``total`` in whole parts nearest to the weights, (g,)."""
    exact = total * weights / weights.sum() if weights.sum() else np.zeros(len(weights))
    parts = np.floor(exact + 1e-9).astype(np.int64)
    order = np.lexsort((seeded_hash(names, seed, "remainder").to_numpy(), -np.round(exact - parts, 9)))
    parts[order[: total - int(parts.sum())]] += 1
    return parts


def smallest_n(sizes: Counts, target: int) -> int:
    """The smallest N with sum of min(size, N) >= ``target``: what every group gives, the small ones all they have. The
    largest size where groups hold fewer than ``target`` together. O(g log g)."""
    if target <= 0 or not len(sizes):
        return 0
    ordered = np.sort(sizes)
    # With N = ordered[i], groups up to i give all and the others N each.
    given = np.cumsum(ordered) + ordered * np.arange(len(ordered) - 1, -1, -1)
    place = int(np.searchsorted(given, target))
    if place == len(ordered):
        return int(ordered[-1])
    below = int(ordered[:place].sum())
    return -(-(target - below) // (len(ordered) - place))
