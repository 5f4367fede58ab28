"""Objectives around DPO: other sequences in its place, or terms on further sequences beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from pref_assets.training.data import ScoreColumn
from pref_assets.training.objectives.dpo import DPO
from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs, Sequences

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Term:
    """What is added to each pair's loss, (n,), and values to report, (n,) each."""

    loss: "torch.Tensor"
    values: "Mapping[str, torch.Tensor]" = field(default_factory=dict)


class Extended(Objective):
    """A DPO loss with more around it. Subclasses implement ``main``, ``further`` or both.

    The labels of soft pairs are mixed in the DPO loss alone: what ``further`` adds does not depend on them.
    """

    inner: DPO = DPO()
    """The loss of the two sides; its `soft_labels` is set on the objective around it."""

    @model_validator(mode="after")
    def _one_flag(self) -> Self:
        if not self.inner.soft_labels:
            raise ValueError("inner.soft_labels: set soft_labels on the objective itself")
        return self

    def main(self, pairs: Pairs) -> Pairs:
        """The pairs as the DPO loss reads them."""
        return pairs

    def further(self, pairs: Pairs) -> Term | None:
        """What is added to the loss; null for nothing."""
        return None

    @property
    def dpo(self) -> DPO:
        """The inner loss under this objective's `soft_labels`."""
        return self.inner.model_copy(update={"soft_labels": self.soft_labels})

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        return self.with_further(self.dpo.pair_losses(self.main(pairs)), pairs)

    def losses(self, pairs: Pairs) -> PairLosses:
        return self.with_further(self.dpo.losses(self.main(pairs)), pairs)

    def with_further(self, losses: PairLosses, pairs: Pairs) -> PairLosses:
        """The DPO losses and what is added to them."""
        term = self.further(pairs)
        if term is None:
            return losses
        return replace(losses, loss=losses.loss + term.loss, values={**losses.values, **term.values})

    def refused(self) -> dict[ColumnName, str]:
        return self.inner.refused()

    @property
    def reference_tokens(self) -> bool:
        return self.inner.reference_tokens

    @property
    def stats(self) -> tuple[str, ...]:
        return self.inner.stats

    def score_columns(self) -> dict[str, ScoreColumn]:
        return self.inner.score_columns()

    def batch_columns(self) -> tuple[str, ...]:
        return self.inner.batch_columns()

    @property
    def statistics_of_lengths(self) -> bool:
        return self.inner.statistics_of_lengths

    def statistics(self, pairs: Pairs, carried: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        return self.dpo.statistics(self.main(pairs), carried)

    def carried_start(self) -> "dict[str, torch.Tensor]":
        return self.inner.carried_start()


def check_alone(inner: DPO) -> None:
    """Raises ``ValueError`` when the loss of a pair depends on the other pairs of its step, whose further sequences
    would then be compared by numbers of the two sides."""
    if inner.batch_columns():
        raise ValueError(
            f"inner: it depends on the other pairs of a step ({', '.join(inner.batch_columns())}), so it cannot "
            "compare further sequences as well; choose another loss_type"
        )


def preference(inner: DPO, better: Sequences, worse: Sequences) -> "torch.Tensor":
    """The loss of "the first is better than the second" for each pair, (n,); 0 where one of them is lacking."""
    import torch

    present = ((better.n_tokens > 0) & (worse.n_tokens > 0)).nonzero()[:, 0]
    losses = better.logp.new_zeros(len(better.logp))
    if not len(present):
        return losses
    certain = torch.ones_like(losses[present])
    pairs = Pairs(better.select(present), worse.select(present), certain, torch.zeros_like(certain))
    return losses.index_put((present,), inner.pair_losses(pairs).loss)


def first_or(first: Sequences, second: Sequences) -> Sequences:
    """Of each pair the first sequence where there is one, else the second; token numbers padded to the longer."""
    import torch
    from torch.nn.functional import pad

    there = first.n_tokens > 0
    width = max(first.ids.shape[1], second.ids.shape[1])

    def wide(values: torch.Tensor, filler: float = 0.0) -> torch.Tensor:
        return pad(values, (0, width - values.shape[1]), value=filler)

    def tokens(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.where(there[:, None], wide(one), wide(other))

    referred = first.ref_tokens is not None and second.ref_tokens is not None
    return Sequences(
        logp=torch.where(there, first.logp, second.logp),
        ref=torch.where(there, first.ref, second.ref),
        n_tokens=torch.where(there, first.n_tokens, second.n_tokens),
        tokens=tokens(first.tokens, second.tokens),
        ids=torch.where(there[:, None], wide(first.ids, -1), wide(second.ids, -1)),
        ref_tokens=tokens(first.ref_tokens, second.ref_tokens) if referred else None,  # type: ignore[arg-type]
        stats={name: tokens(values, second.stats[name]) for name, values in first.stats.items()},
    )


def joined(front: Sequences, back: Sequences) -> Sequences:
    """Each pair's two sequences as one, the tokens of the first before those of the second."""
    import torch

    ids = torch.cat([front.ids, back.ids], 1)
    # Padding between the two goes to the end: whoever weighs tokens by their place must not see it.
    order = (ids < 0).int().argsort(dim=1, stable=True)

    def tokens(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.cat([one, other], 1).gather(1, order)

    referred = front.ref_tokens is not None and back.ref_tokens is not None
    return Sequences(
        logp=front.logp + back.logp,
        ref=front.ref + back.ref,
        n_tokens=front.n_tokens + back.n_tokens,
        tokens=tokens(front.tokens, back.tokens),
        ids=ids.gather(1, order),
        ref_tokens=tokens(front.ref_tokens, back.ref_tokens) if referred else None,  # type: ignore[arg-type]
        stats={name: tokens(front.stats[name], values) for name, values in back.stats.items()},
    )
