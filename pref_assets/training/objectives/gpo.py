"""General preferences: each answer's log-ratio moves to its mean preference score."""

from typing import Literal

from pydantic import Field

from pref_assets.settings import ScoresName
from pref_assets.training.data import ScoreColumn
from pref_assets.training.objectives.by_score import ByScore
from pref_assets.training.objectives.kernel import PairLosses, Pairs


class GPO(ByScore):
    """General Preference Optimization (Zhang et al. 2024, arXiv 2410.02197): (log pi / pi_t - s / beta)^2 for each
    answer, s its mean preference score over the answers of its prompt.

    The log of the normaliser counts as 0, as in the paper. pi_t is the reference: make each round a stage whose
    reference is the last stage. Scores may come from preferences that go in circles: `mean_preference` turns the
    margins of any score into s. The mean over the two sides of a pair stands for that over all answers; the authors too
    keep the best and the worst. Needs scores of both sides and a reference.
    """

    type: Literal["gpo"] = "gpo"
    scores: ScoresName
    """The scores whose `score_chosen` and `score_rejected` are s of the sides."""
    beta: float = Field(default=0.001, gt=0, le=100)
    """Strength of the pull towards the reference; log-ratios move to s / beta, in nats. 0.001 in the released runs."""

    def score_columns(self) -> dict[str, ScoreColumn]:
        """``s_chosen`` and ``s_rejected``."""
        return {f"s_{side}": ScoreColumn(self.scores, f"score_{side}", signed=False) for side in ("chosen", "rejected")}

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """[(r_chosen - s_chosen / beta)^2 + (r_rejected - s_rejected / beta)^2] / 2, r the log-ratios, (n,)."""
        chosen, rejected = pairs.chosen.ratio, pairs.rejected.ratio
        off_chosen = chosen - pairs.columns["s_chosen"] / self.beta
        off_rejected = rejected - pairs.columns["s_rejected"] / self.beta
        loss = (off_chosen**2 + off_rejected**2) / 2
        return PairLosses(loss, (self.beta * chosen).detach(), (self.beta * rejected).detach())
