"""Budgets shared among groups, as an order: groups take turns, so that every prefix of it is a fair share."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pool import Pool

Ints = NDArray[np.int64]


def in_turns(groups: Ints, weights: Mapping[int, float] | None = None) -> Ints:
    """An order (n,) of rows in which their groups (n,) take turns; rows of a group stay in the order they come in.

    Member j (from 1) of group g has its turn at (j - 1/2) / weight; at equal times the larger group is first, then the
    smaller number. The first B rows are therefore the shares of B by the highest-averages method of Webster, no group
    getting more than it has. With equal weights, the default, that is water-filling: small groups whole, the others
    alike, and what does not divide goes to the largest; the same vector as taking ``remaining // groups left``
    from the smallest group up. A smaller budget's rows are always among a larger one's. Time O(n log n).
    """
    member = np.empty(len(groups), dtype=np.int64)
    by_group = np.argsort(groups, kind="stable")
    present, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    member[by_group] = np.arange(len(groups)) - np.repeat(starts, sizes)
    weight = np.array([1.0 if weights is None else weights[int(each)] for each in present])
    turn = (member + 0.5) / weight[inverse]
    return np.lexsort((groups, -sizes[inverse], turn)).astype(np.int64)


def nested_turns(outer: Ints, inner: Ints, weights: Mapping[int, float] | None = None) -> Ints:
    """The same with two levels: ``outer`` groups (n,) take turns by weight, and inside each its ``inner`` groups do."""
    within = np.concatenate([np.empty(0, np.int64), *(rows[in_turns(inner[rows])] for rows in members(outer))])
    return within[in_turns(outer[within], weights)]


def draws(groups: Ints, order: Ints) -> Ints:
    """Which draw from its group each row is, (n,), from 1, when rows come in this order."""
    draw = np.empty(len(order), dtype=np.int64)
    by_group = order[np.argsort(groups[order], kind="stable")]
    sizes = np.unique(groups, return_counts=True)[1]
    starts = np.cumsum(sizes) - sizes
    draw[by_group] = np.arange(len(order)) - np.repeat(starts, sizes) + 1
    return draw


def clusters_of(pool: Pool, name: str, pairs: pl.DataFrame) -> Ints:
    """The cluster of each pair, (n,): its own where pairs were clustered, else that of its chosen completion.

    Raises:
        ValueError: a pair has no cluster; says how many and names some.
    """
    table = pool.clusters[name].select("id", "cluster")
    by_pair = len(pairs.join(table, left_on="pair_id", right_on="id", how="semi")) > 0
    key = "pair_id" if by_pair else "chosen_id"
    found = pairs.select("pair_id", "chosen_id").join(
        table, left_on=key, right_on="id", how="left", validate="m:1", maintain_order="left"
    )
    absent = found.filter(pl.col("cluster").is_null())[key]
    if len(absent):
        raise ValueError(
            f"{len(absent)} of {len(pairs)} train pairs have no cluster in {name!r}, e.g. {absent.head(3).to_list()}; "
            "materialize the clusters again"
        )
    return found["cluster"].to_numpy().astype(np.int64)


def members(groups: Ints) -> list[Ints]:
    """Rows of each group, in order; groups by their number."""
    order = np.argsort(groups, kind="stable")
    return [rows for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(rows)]


def sized(groups: Ints) -> Ints:
    """Size of the group of each row, (n,)."""
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(sizes[inverse], dtype=np.int64)


def numbered(names: Sequence[str]) -> Ints:
    """Each name as its place among the sorted names, (n,)."""
    return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)
