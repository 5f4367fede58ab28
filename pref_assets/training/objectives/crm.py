"""Trimming what looks like noise, by the policy's own losses or by those of a peer."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pref_assets.settings import ScoresName
from pref_assets.training.data import ScoreColumn
from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs

if TYPE_CHECKING:
    import torch


class CRM(Objective):
    """Collaborative training for policies (Zhang et al. 2025, arXiv 2505.10597): DPO on each step's pairs without the
    share ``noise`` of the largest losses, as a peer sees them.

    The paper trains two models at once, each picking the other's pairs. A checkpoint is one model, so the peer is an
    earlier checkpoint: its implicit rewards (`implicit_reward`) as a score, two checkpoints taking turns from stage to
    stage. Without a peer the policy picks for itself (self-trimming, the paper's missing baseline). The share grows
    from 0 over ``ramp_steps``: at first all losses are alike; batches are shuffled, as sorting all pairs by margin
    fills the last batches with noise. What a step's share leaves of a whole pair is kept for the next steps. The loss
    is the mean over the pairs that stay. Needs a reference; without a peer one more forward pass where a step does not
    fit in one.
    """

    type: Literal["crm"] = "crm"
    noise: float = Field(default=0.2, ge=0, lt=1)
    """Share of pairs to leave out, the rate of flipped labels known or estimated; 0 is DPO."""
    ramp_steps: int = Field(default=100, ge=0)
    """Steps over which the share grows from 0 to `noise`; an epoch or two."""
    peer: ScoresName | None = None
    """The scores of the checkpoint that picks, left out where the policy does; larger is trusted more."""
    column: str = "score"
    """Which number of them: one that changes its sign with the label."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference."""

    @model_validator(mode="after")
    def _peer_has_a_use(self) -> "CRM":
        if self.peer is not None and not self.noise:
            raise ValueError("peer: with `noise: 0` no pair is left out, so nobody needs to pick")
        return self

    def refused(self) -> dict[ColumnName, str]:
        """A margin is taken off the logit, as in DPO; ties look like noise."""
        others = super().refused()
        del others["margin"]
        if self.noise:
            others["tie"] = "its loss is never below log 2, so that trimming would take it for noise"
        return others

    def score_columns(self) -> dict[str, ScoreColumn]:
        """``peer``: the peer's margin."""
        return {} if self.peer is None else {"peer": ScoreColumn(self.peer, self.column)}

    def batch_columns(self) -> tuple[str, ...]:
        return ("kept",) if self.noise else ()

    @property
    def statistics_of_lengths(self) -> bool:
        """A peer's margins are there before the policy has read a pair."""
        return self.peer is not None

    def carried_start(self) -> "dict[str, torch.Tensor]":
        """``steps`` done and pairs still ``owed``, (1,) each."""
        import torch

        return {name: torch.zeros(1, dtype=torch.float64) for name in ("steps", "owed")} if self.noise else {}

    def statistics(self, pairs: Pairs, carried: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """``kept``: 0 for pairs that are left out, the same number for all others, 1 on average."""
        margins = pairs.columns.get("peer")
        if margins is None:
            margins = self.beta * (pairs.chosen.ratio - pairs.rejected.ratio) - pairs.margin
        done = float(carried["steps"])
        share = self.noise * (min(1.0, done / self.ramp_steps) if self.ramp_steps else 1.0)
        owed = float(carried["owed"]) + share * len(margins)
        # Sums of shares that should be whole numbers are not quite.
        drop = min(math.floor(owed + 1e-9), len(margins) - 1)
        carried["steps"] += 1
        carried["owed"].fill_(owed - drop)
        return {"kept": keep_largest(margins, drop)}

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """-log S(beta h - margin) times ``kept``, (n,). ``values``: ``kept``, 1 or 0."""
        from torch.nn.functional import logsigmoid

        chosen, rejected = self.beta * pairs.chosen.ratio, self.beta * pairs.rejected.ratio
        loss = -logsigmoid(chosen - rejected - pairs.margin)
        kept = pairs.columns.get("kept")
        if kept is None:
            return PairLosses(loss, chosen.detach(), rejected.detach())
        return PairLosses(kept * loss, chosen.detach(), rejected.detach(), {"kept": (kept > 0).to(loss.dtype)})


def keep_largest(values: "torch.Tensor", drop: int) -> "torch.Tensor":
    """0 for the ``drop`` smallest values, n / (n - number of zeros) for the others, (n,); values that tie with the
    smallest that stays all stay."""
    least = values.sort().values[drop]
    kept = (values >= least).to(values.dtype)
    return kept * len(values) / kept.sum()
