"""The same trials on a pipeline's own pairs, where nobody planted a truth: held-out labels are all there is."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from pref_assets.pairs.schema import TRIALS
from pref_assets.pool import Pool, seeded_uniform
from pref_assets.proving.ground import budgeted, tried_rows
from pref_assets.proving.known import known_truth
from pref_assets.proving.trial import Bench
from pref_assets.selection import SelectorConfig
from pref_assets.selection.budget import BudgetField
from pref_assets.settings import EmbeddingsName, Reference, Settings, SubsetName


class Trials(Settings):
    """Every selector of the pipeline, or some, against random of the same size: a linear reward head on embeddings is
    trained on what each keeps and measured on the held-out pairs.

    A seed draws its pool, a share of the train prompts, and is the seed of selectors and controls; differences are
    paired by seed. Intervals are over seeds on one held-out set: they say how much the choice of train pairs moves
    the result, not how another held-out set would.
    """

    type: Literal["selection_trials"] = "selection_trials"
    embeddings: EmbeddingsName
    """What the head reads."""
    subsets: list[SubsetName] | Literal["all"] = "all"
    """Selectors on trial, by the names of their entries."""
    budgets: list[BudgetField] = Field(default=["25%"], validate_default=True, min_length=1)
    """Budgets for every selector that has one; the budget in its entry is replaced."""
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0, 1, 2, 3, 4], min_length=1)
    """Seeds of pools and methods; intervals are over them."""
    share: float = Field(default=0.8, gt=0, le=1)
    """Share of the train prompts in the pool of a seed."""
    l2: float = Field(default=1.0, gt=0)
    """Penalty of the head, |w|^2 / 2 against the summed loss."""
    draws: int = Field(default=10, ge=1)
    """Random subsets of the same size that the control is the mean of."""
    truth: str | None = None
    """Truth files of the pairs (path, glob or `package://…`), where faults were planted on purpose: accuracy is then
    against the true label, and the oracle and the faults found are measured too."""

    def references(self) -> list[Reference]:
        """Names of other entries; ``subsets: all`` names none."""
        return [ref for ref in super().references() if ref.path != ("subsets",) or self.subsets != "all"]

    def tried(self, subsets: Mapping[str, SelectorConfig]) -> dict[str, SelectorConfig]:
        """The selectors on trial, of those of the pipeline."""
        return dict(subsets) if self.subsets == "all" else {name: subsets[name] for name in self.subsets}

    def trials(self, pool: Pool, subsets: Mapping[str, SelectorConfig], world: str) -> pl.DataFrame:
        """``TRIALS`` of the selectors on the pool; ``world`` is what the rows call it.

        Raises:
            ValueError: there are no train or no test pairs.
        """
        rows: list[dict[str, Any]] = []
        truth = None if self.truth is None else known_truth(pool, self.truth)
        for seed in self.seeds:
            part = self._part(pool, seed)
            bench = Bench(part, self.embeddings, seed, truth, self.l2, self.draws)
            candidates = len(part.candidates())
            for name, settings in self.tried(subsets).items():
                for budget, method in budgeted(settings, self.budgets, seed, candidates):
                    head = {"method": name, "type": settings.type, "budget": budget, "world": world, "seed": seed}
                    rows += tried_rows(head, bench, part, method)
        return TRIALS.frame(rows)

    def _part(self, pool: Pool, seed: int) -> Pool:
        """The pool without the train pairs of the prompts that this seed leaves out."""
        prompts = pool.pairs.select(pl.coalesce("prompt_id", "pair_id")).to_series()
        drawn = pl.Series(seeded_uniform(prompts, seed, "trial pool") < self.share)
        return pool.only(pool.pairs.filter(drawn | (pl.col("split") != "train"))["pair_id"])
