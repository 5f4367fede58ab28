"""Smoothed preferences: what is known of a label scales the logit."""

from typing import Literal

from pydantic import Field, model_validator

from pref_assets.settings import ScoresName
from pref_assets.training.data import ScoreColumn
from pref_assets.training.objectives.by_score import ByScore
from pref_assets.training.objectives.kernel import ColumnName, PairLosses, Pairs


class SmPO(ByScore):
    """Smoothed preference optimization (Lu et al. 2025, arXiv 2506.02698): -log S(c (2 p - 1) beta h), p how likely the
    chosen side is better.

    Averaging DPO's logit, rather than its loss, over both labels gives the factor 2 p - 1: a pair whose sides score the
    same has no gradient. The paper is of diffusion models; the inversion that goes with it there has no counterpart for
    text. p = S(gap / span) of a score's gap (the authors' min-max scaling divides by a constant span), or the votes'
    ``p_chosen`` where no score is named. A gap against the label turns the pair round, as the authors let the score
    name the winner. Needs a reference.
    """

    type: Literal["smpo"] = "smpo"
    scores: ScoresName | None = None
    """The scores that the gap comes from; left out, p is the votes' `p_chosen`."""
    column: str = "score"
    """Which number the gap is: a column that changes its sign with the label, or a named detail that does."""
    span: float = Field(default=1.0, gt=0)
    """Gap that counts as one; the authors take the range of their score over the data."""
    scale: float = Field(default=10.0, gt=0, le=10_000)
    """c; 10 in the authors' code, since gaps of scaled scores are small."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference."""

    @model_validator(mode="after")
    def _something_says_how_sure(self) -> "SmPO":
        if self.scores is None and not self.soft_labels:
            raise ValueError(
                "smpo needs to know how sure a label is: name `scores`, or leave `soft_labels` on to take p_chosen"
            )
        return self

    def refused(self) -> dict[ColumnName, str]:
        """Votes have a place where no score is named."""
        others = super().refused()
        if self.scores is None:
            del others["soft label"]
            others["margin"] = "what is known of the label scales the logit, a margin would shift it"
        return others

    def score_columns(self) -> dict[str, ScoreColumn]:
        """``gap``, where a score is named."""
        return {} if self.scores is None else {"gap": ScoreColumn(self.scores, self.column)}

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """-log S(c (2 p - 1) beta h), h the difference of log-ratios, (n,). ``values``: ``factor``, 2 p - 1."""
        from torch.nn.functional import logsigmoid

        # 2 S(x) - 1 = tanh(x / 2), exact for small gaps.
        gap = pairs.columns.get("gap")
        factor = 2 * pairs.p_chosen - 1 if gap is None else (gap / (2 * self.span)).tanh()
        chosen, rejected = self.beta * pairs.chosen.ratio, self.beta * pairs.rejected.ratio
        loss = -logsigmoid(self.scale * factor * (chosen - rejected))
        return PairLosses(loss, chosen.detach(), rejected.detach(), {"factor": factor})
