"""Ranked lists of answers as pairs that weigh what swapping them would cost the list."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pref_assets.settings import ScoresName
from pref_assets.training.data import ScoreColumn
from pref_assets.training.objectives.by_score import ByScore
from pref_assets.training.objectives.kernel import PairLosses, Pairs

if TYPE_CHECKING:
    import torch


class RankDPO(ByScore):
    """RankDPO (Karthik et al. 2024, arXiv 2410.18013): over all pairs of a prompt's answers, the sum of -D_ij log
    S(beta (s_i - s_j)), s the log-ratio to the reference and i ranked above j by phi.

    D_ij = |2^phi_i - 2^phi_j| |1 / log(1 + rank_i) - 1 / log(1 + rank_j)| is how much the list's discounted gain loses
    when the two swap. A list is its pairs here: let the subset hold all pairs of a prompt, and each adds its term of
    the sum; the loss is the mean over pairs in place of the sum over a list, a constant factor. phi is the share of
    comparisons won (`win_count`), ranks are among all answers of the prompt in the tables; answers of equal phi share
    the mean of their ranks and have weight 0 between them. Needs `win_count` scores and a reference.
    """

    type: Literal["rankdpo"] = "rankdpo"
    scores: ScoresName
    """A `win_count` entry: phi is its `phi_chosen` and `phi_rejected`, the ranks `rank_chosen` and `rank_rejected`."""
    weights: Literal["dcg", "gain", "none"] = "dcg"
    """`dcg`: D_ij; `gain`: its first factor alone, the paper's ablation; `none`: 1 for each pair, which is DPO."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """Strength of the pull towards the reference."""

    def score_columns(self) -> dict[str, ScoreColumn]:
        """phi of the sides; their ranks, unsigned, as only both together matter."""
        found = {f"phi_{side}": ScoreColumn(self.scores, f"score_{side}", probability=True) for side in _SIDES}
        ranks = {f"rank_{side}": ScoreColumn(self.scores, f"rank_{side}", signed=False) for side in _SIDES}
        return found | (ranks if self.weights == "dcg" else {})

    def pair_losses(self, pairs: Pairs) -> PairLosses:
        """-D log S(beta h), h the difference of log-ratios of the side with the larger phi to the other, (n,).

        ``values``: ``list_weight``, D.
        """
        import torch
        from torch.nn.functional import logsigmoid

        columns = pairs.columns
        phi = columns["phi_chosen"], columns["phi_rejected"]
        if self.weights == "dcg":
            weight = swap_cost(*phi, columns["rank_chosen"], columns["rank_rejected"])
        else:
            weight = gain_gap(*phi) if self.weights == "gain" else (phi[0] != phi[1]).to(phi[0].dtype)
        chosen, rejected = self.beta * pairs.chosen.ratio, self.beta * pairs.rejected.ratio
        z = torch.sign(phi[0] - phi[1]) * (chosen - rejected)
        return PairLosses(-weight * logsigmoid(z), chosen.detach(), rejected.detach(), {"list_weight": weight})


_SIDES = ("chosen", "rejected")


def gain_gap(phi: "torch.Tensor", other: "torch.Tensor") -> "torch.Tensor":
    """|G - G'| with G = 2^phi - 1, (n,)."""
    return (phi.exp2() - other.exp2()).abs()


def discount(rank: "torch.Tensor") -> "torch.Tensor":
    """1 / log(1 + rank), ranks from 1."""
    return 1 / rank.log1p()


def swap_cost(
    phi: "torch.Tensor",
    other_phi: "torch.Tensor",
    rank: "torch.Tensor",
    other_rank: "torch.Tensor",
    weigh: "Callable[[torch.Tensor], torch.Tensor]" = discount,
) -> "torch.Tensor":
    """What a list's discounted gain loses when two answers swap, (n,); ``weigh`` is what a rank is worth."""
    return gain_gap(phi, other_phi) * (weigh(rank) - weigh(other_rank)).abs()
