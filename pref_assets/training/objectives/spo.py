"""A policy that can tell how much of an answer is left."""

from typing import TYPE_CHECKING, ClassVar, Literal

import polars as pl
from pydantic import Field, model_validator

from pref_assets.training.objectives.extended import Extended, Term
from pref_assets.training.objectives.kernel import Pairs
from pref_assets.training.views.degrees import Extractor, degree_parts

if TYPE_CHECKING:
    import torch

PARTS_OF_LADDER = ("degree_1", "degree_2", "degree_3")


class SPO(Extended):
    """Self-supervised preference optimization (Li et al. 2024, arXiv 2409.17791): the pair's loss plus gamma times the
    cross-entropy of a small head that tells, from the policy's mean state over an answer, which share of its key
    words was left out.

    Reconstructed from the paper's description: its weight, number of levels and keyword extractor are not known here,
    so all are settings. The head is linear, on the chosen answer and three versions of it, and is thrown away after
    training. Shorter versions are also easier to tell by their length (``views.degrees.length_probe_accuracy`` says
    how well). A pair whose answer is too short for three versions lacks the term; `spo/ladders` is the share that has
    it, and `spo/degree_accuracy` counts the others as 0. Costs three more sequences a pair.
    """

    type: Literal["spo"] = "spo"
    part_names: ClassVar[tuple[str, ...]] = PARTS_OF_LADDER
    parts_without_reference: ClassVar[frozenset[str]] = frozenset(PARTS_OF_LADDER)
    gamma: float = Field(default=0.1, ge=0)
    """Weight of the cross-entropy; 0 leaves its sequences out."""
    removal: tuple[float, float, float] = (0.25, 0.5, 0.75)
    """Shares of words left out at degrees 1, 2 and 3, rising, each above 0 and below 1."""
    extractor: Extractor = "rake"
    """Which words are key words: `rake` looks at the answer alone, `tfidf` at all of the subset's."""

    @model_validator(mode="after")
    def _degrees_rise(self) -> "SPO":
        if not all(low < high for low, high in zip((0.0, *self.removal), (*self.removal, 1.0), strict=True)):
            raise ValueError(f"removal must rise from above 0 to below 1, not {list(self.removal)}")
        return self

    def parts(self, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        """The chosen answers at degrees 1 to 3, where they are long enough."""
        return degree_parts(rows if self.gamma else rows.clear(), self.removal, self.extractor, PARTS_OF_LADDER)

    def head(self, hidden_size: int) -> "torch.nn.Module | None":
        """Linear, from the hidden state to the four degrees."""
        import torch

        return torch.nn.Linear(hidden_size, 1 + len(PARTS_OF_LADDER)) if self.gamma else None

    def further(self, pairs: Pairs) -> Term | None:
        import torch
        from torch.nn.functional import cross_entropy

        if not self.gamma:
            return None
        ladder = [pairs.chosen, *(pairs.parts[name] for name in PARTS_OF_LADDER)]
        present = torch.stack([each.n_tokens > 0 for each in ladder]).all(0)
        loss = correct = torch.zeros_like(pairs.chosen.logp)
        for degree, each in enumerate(ladder):
            if each.outputs is None:
                break
            target = torch.full_like(each.outputs[:, 0], degree, dtype=torch.long)
            loss = loss + cross_entropy(each.outputs, target, reduction="none") / len(ladder)
            correct = correct + (each.outputs.argmax(1) == target).to(loss) / len(ladder)
        loss, correct = (torch.where(present, each, torch.zeros_like(each)) for each in (loss, correct))
        told = {"spo/cross_entropy": loss, "spo/degree_accuracy": correct, "spo/ladders": present.to(loss)}
        return Term(self.gamma * loss, {name: values.detach() for name, values in told.items()})
