"""Step-level preferences: only what comes after the point where two answers part is compared."""

from typing import Literal

from pydantic import Field

from pref_assets.settings import ScoresName
from pref_assets.training.data import ScoreColumn
from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs
from pref_assets.training.objectives.token_weights import after_divergence, marked, weighted_ratio


class StepDPO(Objective):
    """DPO on tokens from the first one in which the answers differ, with label smoothing min(1 - confidence, 1/2), as
    Monte Carlo tree search preferences are learned (Xie et al. 2024, arXiv 2405.00451).

    A step is everything from there to the end [choice; the tree says where it ends, a pair of texts does not]. The
    authors' code takes log-probabilities from one token later, which leaves out the very token that differs; here it
    counts. Confidence is any calibrated probability that the label is right. Needs the reference's log-probabilities of
    tokens.
    """

    type: Literal["step_dpo"] = "step_dpo"
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference."""
    per_token: bool = False
    """Divide each side's log-ratio by its tokens after the divergence."""
    confidence: ScoresName | None = None
    """The scores that say how sure each label is; left out, there is no smoothing but what soft labels give."""
    column: str = "p_correct"
    """Which number the confidence is: a probability that the label is right."""

    def refused(self) -> dict[ColumnName, str]:
        """A margin is taken off the logit; votes and a confidence say the same thing twice."""
        others = super().refused()
        del others["margin"]
        if self.confidence is not None:
            others["soft label"] = "`confidence` says how sure the label is; set `soft_labels: false`"
            others["tie"] = "it has no label to be confident of"
        return others

    @property
    def reference_tokens(self) -> bool:
        return True

    def score_columns(self) -> dict[str, ScoreColumn]:
        """``confidence``, where scores give one."""
        if self.confidence is None:
            return {}
        return {"confidence": ScoreColumn(self.confidence, self.column, probability=True)}

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """-(1 - e) log S(z) - e log S(-z), z = beta h - margin, h over tokens after the divergence, (n,).

        ``values``: ``shared_tokens``, those before it.
        """
        import torch
        from torch.nn.functional import logsigmoid

        marks = marked(pairs, after_divergence)
        sides = list(zip((pairs.chosen, pairs.rejected), marks, strict=True))
        chosen, rejected = (
            self.beta * weighted_ratio(side, each) / (each.sum(1).clamp(min=1) if self.per_token else 1)
            for side, each in sides
        )
        z = chosen - rejected - pairs.margin
        sure = pairs.columns.get("confidence")
        smoothing = torch.zeros_like(z) if sure is None else (1 - sure).clamp(max=0.5)
        loss = -(1 - smoothing) * logsigmoid(z) - smoothing * logsigmoid(-z)
        shared = pairs.chosen.n_tokens - marks[0].sum(1)
        return PairLosses(loss, chosen.detach(), rejected.detach(), {"shared_tokens": shared})
