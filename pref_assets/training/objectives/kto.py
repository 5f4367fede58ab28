"""Kahneman-Tversky optimization: each side on its own, against a point of reference that the step measures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.training.data import sequence_id
from pref_assets.training.errors import TrainingDataError, name_pairs
from pref_assets.training.objectives.kernel import PARTS, Objective, PairLosses, Pairs

if TYPE_CHECKING:
    import torch

MISMATCHED = {side: f"mismatched_{side}" for side in ("chosen", "rejected")}


class KTO(Objective):
    """KTO (Ethayarajh et al. 2024, arXiv 2402.01306, eq. 7 and 8): the chosen side is a desirable example, the rejected
    one an undesirable one; and the unpaired form of APO-zero (arXiv 2408.06266).

    Numbers are those of TRL 1.16: a pair's loss is the mean over its two examples, and the reference point is the KL
    divergence estimated on answers to other prompts, floored at 0. Those answers are both sides of the pair before this
    one in the order of ids that has another prompt (in a circle), so that a pair brings the same two whatever step it
    is in. They need reference log-probabilities of their own, and
    double the cost of a step; `apo_zero_unpaired` needs none.
    """

    type: Literal["kto"] = "kto"
    part_names: ClassVar[tuple[str, ...]] = tuple(MISMATCHED.values())
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """`kto`, or `apo_zero_unpaired`, which has no reference point."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference."""
    desirable_weight: float = Field(default=1.0, ge=0)
    """Weight of chosen sides."""
    undesirable_weight: float = Field(default=1.0, ge=0)
    """Weight of rejected sides."""

    def parts(self, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        """Both sides of another pair after this pair's prompt.

        Raises:
            TrainingDataError: all pairs have one prompt.
        """
        if self.loss_type != "kto":
            return super().parts(rows, seed)
        found = []
        for row, other in _with_others(rows.sort("pair_id")):
            for side, name in MISMATCHED.items():
                key = sequence_id(row["prompt"], other[side])
                found.append((row["pair_id"], name, key, row["prompt"], other[side]))
        return pl.DataFrame(found, schema=PARTS, orient="row")

    def batch_columns(self) -> tuple[str, ...]:
        """The reference point."""
        return ("kl",) if self.loss_type == "kto" else ()

    def statistics(self, pairs: Pairs, carried: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """``kl``, (n,): the mean log-ratio of the step's mismatched answers, 0 where it is negative."""
        import torch

        ratios = torch.cat([part.ratio for part in pairs.parts.values()])
        return {"kl": ratios.mean().clamp(min=0).expand(len(pairs.p_chosen))}

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """Loss and implicit rewards of each pair, (n,). With r = log pi - log ref, S the logistic function:

        * ``kto``: [wD (1 - S(beta (r_chosen - kl))) + wU (1 - S(beta (kl - r_rejected)))] / 2
        * ``apo_zero_unpaired``: the same with kl = 0
        """
        chosen, rejected = pairs.chosen.ratio, pairs.rejected.ratio
        kl = pairs.columns["kl"] if self.loss_type == "kto" else 0.0
        desirable = (-self.beta * (chosen - kl)).sigmoid()
        undesirable = (-self.beta * (kl - rejected)).sigmoid()
        loss = (self.desirable_weight * desirable + self.undesirable_weight * undesirable) / 2
        values = dict(pairs.columns) if self.loss_type == "kto" else {}
        return PairLosses(loss, (self.beta * chosen).detach(), (self.beta * rejected).detach(), values)


def _with_others(rows: pl.DataFrame) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row with the nearest row before it, in a circle, that has another prompt."""
    everything = rows.select("pair_id", "prompt", "chosen", "rejected").to_dicts()
    differs = [row["prompt"] != everything[i - 1]["prompt"] for i, row in enumerate(everything)]
    if everything and not any(differs):
        raise TrainingDataError(
            f"`kto` needs pairs of at least two prompts, all have one: {name_pairs(rows['pair_id'].to_list())}"
        )
    found, other = [], -1
    # Twice around: the second time, every row knows the last change of prompt before it.
    for i in [*range(len(everything)), *range(len(everything))]:
        other = i - 1 if differs[i] else other
        found.append((everything[i], everything[other]))
    return found[len(everything) :]
