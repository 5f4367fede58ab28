"""Whether a reward model pays for form: lists, headings, bold text, politeness."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.evaluation.accuracy import Margins, correlation, joined, row
from pref_assets.evaluation.base import Inputs
from pref_assets.evaluation.intervals import Estimate, bootstrap, difference, group_numbers, share
from pref_assets.evaluation.reward import Rewards
from pref_assets.home import Home
from pref_assets.pairs.schema import EVALUATIONS
from pref_assets.pairs.texts import text_of
from pref_assets.scoring.judging.traits import Trait, amount


class StyleBias(Rewards):
    """How closely reward margins follow traits of form, one trait a slice ``trait:<name>``.

    - ``style_correlation``: Pearson's correlation of the margin with how much more of the trait the chosen answer has;
      bootstrap interval over prompts; no row where either does not vary;
    - ``accuracy_more_chosen``, ``accuracy_less_chosen``: accuracy where the recorded winner has more, or less, of it;
    - ``style_gap``: the first minus the second, Newcombe's interval; 0 for a scorer that ignores the trait;
    - ``style_bias`` on ``all``: mean size of the gaps.

    `length_bias` is the same for characters. Traits go together (a list is long), so one scorer's gaps do not add up.
    """

    type: Literal["style_bias"] = "style_bias"
    traits: list[Trait] = Field(
        default=["lists", "headings", "bold", "code", "numbers", "questions", "politeness", "apologies", "refusal"],
        min_length=1,
    )
    """What to look at."""

    def rows(self, inputs: Inputs, home: Home) -> pl.DataFrame:
        test = self.test_pairs(inputs)
        amounts = trait_differences(test, inputs.completions, self.traits)
        rows: list[dict[str, Any]] = []
        for scorer in self.scorers(test, inputs, home):
            scored = joined(test, scorer).join(amounts, on="pair_id").sort("pair_id")
            gaps = []
            for trait in self.traits:
                found = self._trait(scorer, scored, trait)
                gaps += [each for each in found if each["metric"] == "style_gap"]
                rows += found
            if gaps:
                size = float(np.mean([abs(each["value"]) for each in gaps]))
                rows.append(row(scorer, "style_bias", "all", Estimate(size, None, None, scored.height)))
        return EVALUATIONS.frame(rows)

    def _trait(self, scorer: Margins, scored: pl.DataFrame, trait: Trait) -> list[dict[str, Any]]:
        more, margins = scored[trait].to_numpy(), scored["margin"].to_numpy().astype(np.float64)
        groups = group_numbers(scored["group"].to_list())
        name, rows = f"trait:{trait}", []
        value = correlation(margins, more)
        if np.isfinite(value):
            ends = bootstrap(lambda items: correlation(margins[items], more[items]), groups, self.seed, self.resamples)
            rows.append(row(scorer, "style_correlation", name, Estimate.around(value, ends, scored.height)))
        sides = []
        for side, condition in (("more", more > 0), ("less", more < 0)):
            part = scored.filter(pl.Series(condition))
            if not part.is_empty():
                sides.append(share(part["points"].to_numpy(), group_numbers(part["group"].to_list())))
                rows.append(row(scorer, f"accuracy_{side}_chosen", name, sides[-1]))
        if len(sides) == 2:
            gap = Estimate(*difference(sides[0], sides[1]), n=sides[0].n + sides[1].n)
            rows.append(row(scorer, "style_gap", name, gap))
        return rows


def trait_differences(test: pl.DataFrame, completions: pl.DataFrame, traits: Sequence[Trait]) -> pl.DataFrame:
    """pair_id and for each trait how much more of it the chosen answer has, Float64."""
    texts = completions.select("completion_id", text=text_of("messages"))
    amounts = texts.select("completion_id", *(amount(trait, "text").alias(trait) for trait in traits))
    found = test.select("pair_id", "chosen_id", "rejected_id")
    for side in ("chosen", "rejected"):
        named = amounts.rename({name: f"{side}_{name}" for name in amounts.columns}).rename(
            {f"{side}_completion_id": f"{side}_id"}
        )
        found = found.join(named, on=f"{side}_id", how="left", maintain_order="left")
    gap = [(pl.col(f"chosen_{trait}") - pl.col(f"rejected_{trait}")).alias(trait) for trait in traits]
    return found.select("pair_id", *gap)
