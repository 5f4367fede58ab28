"""Supervision where the texts differ: tokens that an edit touches count, others less or not at all."""

from typing import Literal

from pydantic import Field, model_validator

from pref_assets.training.objectives.kernel import ColumnName, Objective, PairLosses, Pairs
from pref_assets.training.objectives.token_weights import edited, marked, weighted_ratio


class TokenDPO(Objective):
    """DPO on the tokens that an edit of the rejected answer into the chosen one touches, after fine-grained supervision
    by minimal edits (Xu et al. 2024, arXiv 2406.02756).

    The paper has answers edited as little as possible, takes removed and replaced tokens as bad, added and replacing
    ones as good, and trains a reward of tokens for PPO. Here the same labels weigh the tokens' log-ratios in DPO
    [choice], on any pair. A pair of which no weighted token is left has loss 0. Needs the reference's log-probabilities
    of tokens. Finding the edit is quadratic in the length at worst, a small part of a forward pass.
    """

    type: Literal["token_dpo"] = "token_dpo"
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference."""
    edited: float = Field(default=1.0, ge=0, le=100)
    """Weight of a token that the edit touches."""
    untouched: float = Field(default=0.0, ge=0, le=100)
    """Weight of every other token; with both weights 1 this is DPO."""

    @model_validator(mode="after")
    def _some_token_counts(self) -> "TokenDPO":
        if not self.edited and not self.untouched:
            raise ValueError("edited and untouched are both 0: no token would count")
        return self

    def refused(self) -> dict[ColumnName, str]:
        """A margin is taken off the logit, as in DPO."""
        others = super().refused()
        del others["margin"]
        return others

    @property
    def reference_tokens(self) -> bool:
        return True

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """-log S(beta h - margin), h the difference of the sides' weighted sums of log-ratios, (n,).

        ``values``: ``edited_share`` of the pair's tokens.
        """
        from torch.nn.functional import logsigmoid

        touched = marked(pairs, edited)
        sides = list(zip((pairs.chosen, pairs.rejected), touched, strict=True))
        weights = [(self.edited * marks + self.untouched * (side.mask & ~marks)) for side, marks in sides]
        chosen, rejected = (
            self.beta * weighted_ratio(side, each) for (side, _), each in zip(sides, weights, strict=True)
        )
        counts = sum(each.sum(1) for each in weights) > 0
        loss = -logsigmoid(chosen - rejected - pairs.margin) * counts
        share = sum(marks.sum(1) for marks in touched) / (pairs.chosen.n_tokens + pairs.rejected.n_tokens)
        return PairLosses(loss, chosen.detach(), rejected.detach(), {"edited_share": share})
