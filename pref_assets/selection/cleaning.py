"""What cleaners share: most pairs stay, some go or train with another label, and a budget draws at random."""

import polars as pl
from pydantic import Field, model_validator

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import Selector, decide
from pref_assets.selection.budget import Budgeted, BudgetField
from pref_assets.settings import CountedName


class Cleaner(Selector):
    """A selector that keeps every pair that looks right, or an exact budget drawn from those."""

    budget: BudgetField | None = None
    """How much to keep: a random sample of what is clean, comparable with `random`. All of it if left out."""
    counted_by: CountedName | None = Field(default=None)
    """Embeddings whose token counts (prompt and answer, both answers of a pair) a budget in tokens uses."""

    @model_validator(mode="after")
    def _tokens_are_counted(self) -> "Cleaner":
        if self.budget is not None and self.budget.tokens is not None and self.counted_by is None:
            raise ValueError("a budget in tokens needs `counted_by`: the embeddings whose token counts it uses")
        return self

    def keep(self, pool: Pool, order: pl.DataFrame, rule: str | None = None) -> pl.DataFrame:
        """``DECISIONS`` from every candidate in the order of the ranks.

        ``order`` has pair_id, clean (whether it may train), reason, and optionally score, weight, p_chosen, margin.
        Without a budget all clean pairs are kept in this order; with one, those that the seed draws. ``rule`` says in
        the error what is not clean.

        Raises:
            ValueError: fewer pairs (or tokens) are clean than the budget asks.
        """
        if self.budget is None:
            return decide(pool, order.rename({"clean": "selected"}))
        order = order.with_columns(hash=seeded_hash(order["pair_id"], self.seed, "clean"))
        order = order.sort(["clean", "hash"], descending=[True, False]).drop("hash")
        clean = order.filter("clean")["pair_id"].to_list()
        kept = self._drawn(pool, clean, order.height, rule)
        order = order.with_columns(selected=pl.col("pair_id").is_in(kept))
        undrawn = pl.col("clean") & ~pl.col("selected")
        reason = pl.when(undrawn).then(pl.lit("over_budget: not drawn")).otherwise("reason")
        return decide(pool, order.with_columns(reason=reason).drop("clean"))

    def _drawn(self, pool: Pool, clean: list[str], candidates: int, rule: str | None) -> list[str]:
        assert self.budget is not None
        told = f" ({rule})" if rule else ""
        budgeted = Budgeted(seed=self.seed, budget=self.budget, counted_by=self.counted_by)
        if self.budget.tokens is None:
            count = self.budget.resolve(candidates)
            if count > len(clean):
                raise ValueError(
                    f"budget of {count} pairs, but only {len(clean)} of {candidates} look clean{told}; "
                    "lower the budget or loosen what counts as clean"
                )
            return clean[:count]
        costs = budgeted.costs(pool, clean)
        if self.budget.tokens > costs.sum():
            raise ValueError(
                f"budget of {self.budget.tokens:,} tokens, but the {len(clean)} of {candidates} pairs that look clean "
                f"have only {int(costs.sum()):,}; lower the budget or loosen what counts as clean"
            )
        return [pair for pair, kept in zip(clean, self.budget.take(costs), strict=True) if kept]


def mixed(p_chosen: pl.Expr, flip: "pl.Expr | float") -> pl.Expr:
    """The label when it is wrong with probability ``flip``: (1 - f) p + f (1 - p). One flips it, one half is a tie."""
    return (1 - flip) * p_chosen + flip * (1 - p_chosen)
