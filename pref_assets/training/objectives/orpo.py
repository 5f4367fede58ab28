"""Odds ratio preference optimization: one run in place of supervised tuning and alignment."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import polars as pl
from pydantic import Field

from pref_assets.training.data import sequence_id
from pref_assets.training.objectives.kernel import PARTS, Objective, PairLosses, Pairs, Sequences
from pref_assets.training.objectives.likelihood import token_cross_entropy, tokens_scale

if TYPE_CHECKING:
    import torch

CONVERSATION = {side: f"{side}_conversation" for side in ("chosen", "rejected")}


class ORPO(Objective):
    """ORPO (Hong et al. 2024, arXiv 2403.07691, eq. 6 and 7): cross-entropy of the chosen side, plus the log of how its
    odds compare with those of the rejected side, without a reference.

    Numbers are those of TRL 1.16 with `likelihood_of: conversation`. The paper's cross-entropy is that of the answer
    given the prompt, and the default. The cross-entropy is the mean over tokens of the step.
    """

    type: Literal["orpo"] = "orpo"
    reference_free: ClassVar[bool] = True
    part_names: ClassVar[tuple[str, ...]] = tuple(CONVERSATION.values())
    parts_without_reference: ClassVar[frozenset[str]] = frozenset(CONVERSATION.values())
    beta: float = Field(default=0.1, gt=0, le=100)
    """Weight of the odds ratio, the paper's lambda."""
    likelihood_of: Literal["completion", "conversation"] = "completion"
    """Whether the cross-entropy is of the answer, or of prompt and answer as in TRL, which reads both once more."""

    def parts(self, rows: pl.DataFrame, seed: int) -> pl.DataFrame:
        """The whole conversation of each side, where the likelihood is of it; that of the rejected side only where
        its label may be the right one."""
        if self.likelihood_of == "completion":
            return super().parts(rows, seed)
        found: list[tuple[Any, ...]] = []
        for side, name in CONVERSATION.items():
            for row in rows.iter_rows(named=True):
                if side == "rejected" and (row["p_chosen"] == 1 or not self.soft_labels):
                    continue
                whole = row["prompt"] + row[side]
                found.append((row["pair_id"], name, sequence_id([], whole), [], whole))
        return pl.DataFrame(found, schema=PARTS, orient="row")

    def batch_columns(self) -> tuple[str, ...]:
        """The number of tokens behind the cross-entropy."""
        return ("likelihood_scale",)

    @property
    def statistics_of_lengths(self) -> bool:
        """Only tokens are counted."""
        return True

    def statistics(self, pairs: Pairs, carried: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """The column of ``batch_columns``, (n,)."""
        return {"likelihood_scale": tokens_scale(self._read(pairs), soft_labels=self.soft_labels)}

    def losses(self, pairs: Pairs) -> PairLosses:
        """As ``Objective.losses``; the cross-entropy of a pair is that of the side its label prefers."""
        import torch

        found, read = super().losses(pairs), self._read(pairs)
        p = pairs.p_chosen if self.soft_labels else torch.ones_like(pairs.p_chosen)
        scale = pairs.columns["likelihood_scale"]
        chosen, rejected = (token_cross_entropy(side, scale) for side in (read.chosen, read.rejected))
        return replace(found, loss=found.loss + p * chosen + (1 - p) * rejected)

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """-beta log S(log odds_chosen - log odds_rejected) and rewards beta m, (n,); m is log pi per token, the odds
        are exp(m) / (1 - exp(m)). ``losses`` adds the cross-entropy."""
        from torch.nn.functional import logsigmoid

        chosen, rejected = pairs.chosen.mean_logp, pairs.rejected.mean_logp
        difference = (chosen - _log_complement(chosen)) - (rejected - _log_complement(rejected))
        return PairLosses(
            -self.beta * logsigmoid(difference),
            (self.beta * chosen).detach(),
            (self.beta * rejected).detach(),
            {"log_odds_ratio": difference.detach()},
        )

    def _read(self, pairs: Pairs) -> Pairs:
        """The pairs with the sequences whose likelihood counts as their sides."""
        if self.likelihood_of == "completion":
            return pairs
        sides: dict[str, Sequences] = {side: pairs.parts[name] for side, name in CONVERSATION.items()}
        return replace(pairs, chosen=sides["chosen"], rejected=sides["rejected"])


def _log_complement(logp: "torch.Tensor") -> "torch.Tensor":
    """log(1 - exp(logp)), (n,), finite for a probability that rounds to one."""
    import torch

    logp = logp.clamp(max=-torch.finfo(logp.dtype).eps)
    # Either form loses digits where the other is exact (Maechler 2012, the R package Rmpfr).
    near, far = torch.log(-torch.expm1(logp)), torch.log1p(-torch.exp(logp))
    return torch.where(logp > -0.6931472, near, far)
