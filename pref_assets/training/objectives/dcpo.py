"""Two prompts for a pair: each side after a prompt of its own."""

from dataclasses import replace
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.training.objectives.extended import Extended, first_or
from pref_assets.training.objectives.kernel import ColumnName, Pairs
from pref_assets.training.views.perturbation import own_prompts

OWN = "rejected_own"


class DCPO(Extended):
    """Dual-caption preference optimisation (Saeidi et al. 2025, arXiv 2502.06023), for text: the chosen answer is read
    after a prompt that fits it, the rejected one after a prompt that fits it less.

    A pair whose sides answer two prompts brings its own (a prompt written back from the rejected answer, say). Of any
    other the rejected side's prompt is the pair's with words left out of the last user turn, which stands for the
    paper's perturbation by a paraphraser; nothing here writes captions. Prompt tokens are masked, which is what sets
    it apart from `dove`. A perturbed pair costs one more sequence, since its sides are read as they are too.
    """

    type: Literal["dcpo"] = "dcpo"
    part_names: ClassVar[tuple[str, ...]] = (OWN,)
    perturb: float = Field(default=0.3, ge=0, lt=1)
    """Share of words left out of the rejected side's prompt; 0 leaves pairs of one prompt as they are."""

    def refused(self) -> dict[ColumnName, str]:
        others = super().refused()
        others.pop("two prompts", None)
        return others

    def parts(self, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        """The rejected answers of pairs of one prompt after the perturbed prompt."""
        return own_prompts(rows, self.perturb, seed, OWN)

    def main(self, pairs: Pairs) -> Pairs:
        return replace(pairs, rejected=first_or(pairs.parts[OWN], pairs.rejected))
