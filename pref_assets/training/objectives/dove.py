"""Joint preference optimisation over instructions and responses."""

from dataclasses import replace
from typing import ClassVar, Literal

import polars as pl

from pref_assets.training.objectives.extended import Extended, joined
from pref_assets.training.objectives.kernel import ColumnName, Pairs
from pref_assets.training.views.parts import Part, parts_frame


class DOVE(Extended):
    """DOVE (Bansal et al. 2024, arXiv 2404.00530): prefers one (instruction, response) to another, the instructions
    being different ones: DPO with log pi(instruction, response) in the place of log pi(response | instruction).

    Pairs whose sides answer one prompt are DPO exactly: the prompt's terms cancel, so nothing is computed for them. Of
    the others both prompts are read once more, on their own; tokens that the chat template writes before an answer
    are no part of either. A prompt that lost its start to `max_length` counts from its own start there.
    """

    type: Literal["dove"] = "dove"
    part_names: ClassVar[tuple[str, ...]] = ("chosen_prompt", "rejected_prompt")

    def refused(self) -> dict[ColumnName, str]:
        others = super().refused()
        others.pop("two prompts", None)
        return others

    def parts(self, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        """Both prompts of the pairs that have two, each as a text without a prompt."""
        two = rows.filter(pl.col("rejected_prompt").is_not_null())
        found = []
        for pair, chosen, rejected in two.select("pair_id", "prompt", "rejected_prompt").iter_rows():
            found += [Part(pair, "chosen_prompt", [], chosen), Part(pair, "rejected_prompt", [], rejected)]
        return parts_frame(found)

    def main(self, pairs: Pairs) -> Pairs:
        return replace(
            pairs,
            chosen=joined(pairs.parts["chosen_prompt"], pairs.chosen),
            rejected=joined(pairs.parts["rejected_prompt"], pairs.rejected),
        )
