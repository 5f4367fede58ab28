"""A budget spent on some of the candidates only."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.budget import Budget, Budgeted


class Draw(Budgeted):
    """A budget and the seed of a draw, for selectors in which a budget may be left out. Selects nothing by itself."""


def take_eligible(name: str, method: Budgeted, pool: Pool, order: pl.DataFrame, rule: str) -> NDArray[np.bool_]:
    """Which rows of ``order`` (pair_id, eligible) are kept, (n,): as many eligible ones, the first ones, as the budget
    of ``method`` asks of all candidates.

    Raises:
        ValueError: fewer are eligible than the budget asks. ``name`` (of the selector) and ``rule`` (what makes a pair
            eligible) are for this message.
    """
    places = order["eligible"].arg_true().to_numpy()
    costs = method.costs(pool, order["pair_id"].gather(places).to_list())
    if method.budget.tokens is not None:
        if method.budget.tokens > costs.sum():
            raise ValueError(
                f"{name}: budget of {method.budget.tokens:,} tokens, but the {len(places)} of {len(order)} train "
                f"pairs with {rule} have only {int(costs.sum()):,}; lower the budget or widen the rule"
            )
        taken = method.budget.take(costs)
    else:
        count = method.most(pool)
        if count > len(places):
            raise ValueError(
                f"{name}: budget of {count} pairs, but only {len(places)} of {len(order)} train pairs have {rule}; "
                "lower the budget or widen the rule"
            )
        taken = np.arange(len(places)) < count
    kept = np.zeros(len(order), dtype=bool)
    kept[places[taken]] = True
    return kept


def drawn(order: pl.DataFrame, seed: int, purpose: str) -> pl.DataFrame:
    """The rows in an order drawn from the seed, the eligible ones first."""
    hashes = seeded_hash(order["pair_id"], seed, purpose)
    return order.with_columns(hash=hashes).sort(~pl.col("eligible"), "hash").drop("hash")


def draw_of(budget: Budget, counted_by: str | None, seed: int) -> Draw:
    """An optional budget, once it is there, as one that can be spent."""
    return Draw(budget=budget, counted_by=counted_by, seed=seed)
