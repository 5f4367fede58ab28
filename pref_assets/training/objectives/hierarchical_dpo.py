"""A preference at several levels: the answers, their boundaries, their order, their prompt."""

from dataclasses import replace
from typing import ClassVar, Literal

import polars as pl
from pydantic import Field, model_validator

from pref_assets.training.objectives.extended import Extended, Term, check_alone, preference
from pref_assets.training.objectives.kernel import PairLosses, Pairs
from pref_assets.training.views.hierarchy import VIEWS, hierarchy_parts


class HierarchicalDPO(Extended):
    """The weighted sum of one DPO loss on several views of a pair (PhysHPO, Chen et al. 2025), for text: the two
    answers, and the chosen answer against itself with other boundary sentences, in another order, after another
    prompt.

    The paper's views are of video: boundary frames, optical flow, captions. Optical flow has no counterpart here; the
    order of sentences stands in its place. A worse version of the chosen answer is worse whatever the label, so soft
    labels weigh the first term alone. A pair that lacks a view lacks its term. Each view costs one more sequence; one
    whose weight is 0 is not made, so weights (1, 0, 0, 0) are DPO exactly.
    """

    type: Literal["hierarchical_dpo"] = "hierarchical_dpo"
    part_names: ClassVar[tuple[str, ...]] = VIEWS
    instance: float = Field(default=1.0, ge=0)
    """Weight of the two answers."""
    boundary: float = Field(default=0.4, ge=0)
    """Weight of the first and last sentence replaced (the paper's state level)."""
    structure: float = Field(default=0.3, ge=0)
    """Weight of the order of sentences (the paper's motion level)."""
    prompt_side: float = Field(default=0.2, ge=0)
    """Weight of the prompt (the paper's semantic level)."""

    @model_validator(mode="after")
    def _weights_have_a_use(self) -> "HierarchicalDPO":
        if not any((self.instance, *self.weights.values())):
            raise ValueError("all four weights are 0")
        if self.weights:
            check_alone(self.inner)
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the views that are made, by name."""
        return {name: weight for name in VIEWS if (weight := getattr(self, name))}

    def parts(self, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        """The views with a weight, for pairs that give them."""
        return hierarchy_parts(rows, self.weights.keys(), seed)

    def with_further(self, losses: PairLosses, pairs: Pairs) -> PairLosses:
        return super().with_further(replace(losses, loss=self.instance * losses.loss), pairs)

    def further(self, pairs: Pairs) -> Term | None:
        import torch

        if not self.weights:
            return None
        loss, values = torch.zeros_like(pairs.chosen.logp), {}
        for name, weight in self.weights.items():
            of_view = preference(self.inner, pairs.chosen, pairs.parts[name])
            loss = loss + weight * of_view
            values[f"loss/{name}"] = of_view.detach()
        return Term(loss, values)
