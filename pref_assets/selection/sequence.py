"""Composition: filter, then rank, then diversify."""

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Literal

import polars as pl
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.selection.base import Selector, decide
from pref_assets.selection.budget import Budget

if TYPE_CHECKING:
    from pref_assets.selection import SelectorConfig

_CARRIED = ("p_chosen", "margin")


class Sequence(Selector):
    """Selectors one after the other, each on what the former kept: filter, then rank, then diversify.

    [choice] A share in a step's budget is of the pairs that reach it. Every step sees all held-out pairs, and pairs as
    the votes orient them, whatever a former step relabelled: scores have that orientation. Of the kept pairs, ranks,
    scores and reasons are those of the last step; weights multiply; a label or margin is that of the last step that
    set one; stages are those of the last step that made more than one. A pair turned down keeps the words of the step
    that did it, and comes after those turned down later. Every reason names its step: `deita/redundant: …`. Cost: the
    sum of the steps.
    """

    type: Literal["sequence"] = "sequence"
    steps: "list[SelectorConfig]" = Field(min_length=1)
    """Selectors in order, each written as an entry of `subsets`."""
    seed: int = Field(default=0, ge=0)
    """Added to the seed of every step, so that one number draws the whole sequence anew."""

    @property
    def budget(self) -> Budget | None:
        """What the whole keeps of the pool, where the steps say so by themselves: the count of the last step, or its
        share of what the shares and counts before it leave. None where it depends on the data, or counts tokens or
        prompts."""
        if any(getattr(step, "unit", "pairs") != "pairs" for step in self.steps):
            return None
        budgets: list[Budget | None] = [getattr(step, "budget", None) for step in self.steps]
        sizes = [each for each in budgets if each is not None and each.tokens is None]
        if len(sizes) == len(budgets) and not any(_may_stop_short(step) for step in self.steps[:-1]):
            return _Chain(steps=tuple(sizes))
        last = budgets[-1]
        return last if last is not None and last.count is not None else None

    @property
    def fill(self) -> bool:
        """False where the last step may keep less than its budget."""
        return not _may_stop_short(self.steps[-1])

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool. Raises ``ValueError`` as the steps do, naming the step."""
        held_out = pool.pairs.filter(pl.col("split") != "train")["pair_id"].to_list()
        turned_down: list[pl.DataFrame] = []
        carried = (
            pool.candidates()
            .select("pair_id", weight=pl.lit(1.0), stage=pl.lit(1, pl.Int64))
            .with_columns(pl.lit(None, pl.Float64).alias(name) for name in _CARRIED)
        )
        for number, step in enumerate(self.steps, start=1):
            before = carried["pair_id"].to_list()
            found = self._step(number, step, pool.only([*before, *held_out]))
            found = found.filter(pl.col("rank").is_not_null()).sort("rank")
            found = found.with_columns(reason=pl.format(f"{step.type}/{{}}", "reason"))
            turned_down.append(found.filter(~pl.col("selected")).select("pair_id", "selected", "reason", "score"))
            kept = found.filter("selected")
            carried = _carry(carried, kept)
        kept = kept.select("pair_id", "selected", "reason", "score").join(
            carried, on="pair_id", how="left", validate="1:1", maintain_order="left"
        )
        return decide(pool, pl.concat([kept, *reversed(turned_down)], how="diagonal"))

    def _step(self, number: int, step: Selector, pool: Pool) -> pl.DataFrame:
        try:
            return step.model_copy(update={"seed": step.seed + self.seed}).select(pool)
        except ValueError as error:
            kind = getattr(step, "type", "")
            raise ValueError(
                f"sequence: step {number} of {len(self.steps)} ({kind}), which {pool.candidates().height} pairs "
                f"reach: {error}"
            ) from error


def _carry(former: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """What goes on with the kept pairs: weights multiplied, labels, margins and stages of the last that set them."""
    both = kept.select("pair_id", "weight", "stage", *_CARRIED).join(
        former, on="pair_id", how="left", suffix="_before", validate="1:1", maintain_order="left"
    )
    staged = kept["stage"].n_unique() > 1
    return both.select(
        "pair_id",
        weight=pl.col("weight") * pl.col("weight_before"),
        stage=pl.col("stage") if staged else pl.col("stage_before"),
        **{name: pl.coalesce(name, f"{name}_before") for name in _CARRIED},
    )


def _may_stop_short(step: Selector) -> bool:
    return getattr(step, "fill", True) is False


@dataclass(frozen=True)
class _Chain(Budget):
    """Budgets that are each a share or a number of what the former leaves."""

    steps: tuple[Budget, ...] = ()

    def resolve(self, candidates: int) -> int:
        return reduce(lambda left, budget: budget.resolve(left), self.steps, candidates)

    def text(self) -> str:
        return ", then ".join(str(budget.text()) for budget in self.steps)
