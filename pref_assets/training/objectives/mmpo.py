"""Margin matching: the gap of two scores becomes a soft label."""

from typing import Literal

from pydantic import Field

from pref_assets.settings import ScoresName
from pref_assets.training.data import ScoreColumn
from pref_assets.training.objectives.by_score import ByScore
from pref_assets.training.objectives.kernel import PairLosses, Pairs


class MMPO(ByScore):
    """Margin Matching Preference Optimization (Kim et al. 2024, arXiv 2410.03145): DPO on soft labels p = S(gamma m),
    m the gap between the scores of the sides.

    Its minimum is at beta h = gamma m, where DPO has none. A pair that the score orders the other way trains that way,
    as the authors swap it. Needs a score of every pair and a reference.
    """

    type: Literal["mmpo"] = "mmpo"
    scores: ScoresName
    """The scores that m comes from."""
    column: str = "score"
    """Which number m is: a column that changes its sign with the label, or a named detail that does."""
    gamma: float = Field(default=2.2, ge=0, le=1000)
    """Label sharpness, in log-odds per unit of m; 0.3, 1.1 and 2.2 in the paper, by data and model."""
    beta: float = Field(default=0.01, gt=0, le=100)
    """Strength of the pull towards the reference."""

    def score_columns(self) -> dict[str, ScoreColumn]:
        """``gap``: m."""
        return {"gap": ScoreColumn(self.scores, self.column)}

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """-p log S(beta h) - (1 - p) log S(-beta h), h the difference of log-ratios, (n,).

        At the minimum this is the entropy of p. ``values``: ``p_target``.
        """
        from torch.nn.functional import logsigmoid

        chosen, rejected = self.beta * pairs.chosen.ratio, self.beta * pairs.rejected.ratio
        z, target = chosen - rejected, (self.gamma * pairs.columns["gap"]).sigmoid()
        loss = -target * logsigmoid(z) - (1 - target) * logsigmoid(-z)
        return PairLosses(loss, chosen.detach(), rejected.detach(), {"p_target": target})
