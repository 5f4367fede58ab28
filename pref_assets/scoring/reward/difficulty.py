"""How hard a pair is for a policy that starts at the reference model, from the reference's log-probabilities alone."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.scoring.base import Scorer, pair_scores
from pref_assets.scoring.reward.logps import TIE, rank_correct, reference_sides
from pref_assets.settings import ReferenceName

Floats = NDArray[np.float64]

RIGHT, REPAIRABLE, OUT_OF_REACH = "right", "repairable", "out_of_reach"


class RefDifficulty(Scorer):
    """How far the reference model ranks a pair the wrong way round, c = log ref(rejected) - log ref(chosen), and what
    a policy must reach to turn it (Chen et al., "Preference Learning Algorithms Do Not Learn Preference Rankings",
    NeurIPS 2024, arXiv 2405.19534).

    ``score`` is c in nats: hard pairs first; rank by ``ref_log_ratio`` (-c) for easy ones first. ``details``:
    ``ref_log_ratio``; ``flip_threshold_loss``, the DPO loss at which the policy starts to rank the pair right;
    ``max_repairable``, the largest c that the optimal policy turns at the share of votes p_chosen; ``ideal_log_ratio``
    of that policy, and ``ideal_correct`` (1, 0, or .5 for a tie); ``rank_correct`` of the reference, with
    differences up to .01 nats as .5, and ``rank_correct_ln``, per token.

    ``category``: ``right`` (the reference ranks the pair right or even), ``repairable`` (wrongly, by no more than
    ``max_repairable``), ``out_of_reach``. With one vote a pair, p_chosen is 1 and ``certain`` decides what is within
    reach. Choice: ``reference_scale`` multiplies the reference's log-probabilities, as the paper's ablation does.

    Needs: log-probabilities of every pair's completions under a base model. Cost: O(pairs), no model.
    """

    type: Literal["ref_difficulty"] = "ref_difficulty"
    reference: ReferenceName
    """Base model whose log-probabilities are used."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull to the reference in the DPO loss to come."""
    certain: float = Field(default=0.999, gt=0.5, lt=1)
    """Most that a label counts as: shares of votes are kept between 1 minus this and this."""
    reference_scale: float = Field(default=1.0, ge=0, le=2)
    """Factor on the reference's log-probabilities; 1 is DPO."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES`` of every pair.

        Raises:
            ValueError: a completion of a pair has no log-probability, or one that is no number.
        """
        frame = reference_sides(pool, self.reference)
        chosen, rejected = (frame[f"logp_{side}"].to_numpy() for side in ("chosen", "rejected"))
        per_token = pl.col("logp_chosen") / pl.col("n_tokens_chosen") - pl.col("logp_rejected") / pl.col(
            "n_tokens_rejected"
        )
        c = self.reference_scale * (rejected - chosen)
        repair = max_repairable(frame["p_chosen"].to_numpy(), self.beta, self.certain)
        category = np.where(c <= 0, RIGHT, np.where(c < repair, REPAIRABLE, OUT_OF_REACH))
        scored = frame.with_columns(
            score=pl.Series(c),
            score_chosen=pl.col("logp_chosen"),
            score_rejected=pl.col("logp_rejected"),
            category=pl.Series(category.tolist(), dtype=pl.String),
            ref_log_ratio=pl.Series(-c),
            flip_threshold_loss=pl.Series(flip_threshold_loss(c, self.beta)),
            max_repairable=pl.Series(repair),
            ideal_log_ratio=pl.Series(repair - c),
            ideal_correct=pl.Series(0.5 * (1 + np.sign(repair - c))),
            rank_correct=rank_correct(pl.col("logp_chosen") - pl.col("logp_rejected"), TIE),
            rank_correct_ln=rank_correct(per_token, 0),
        )
        return pair_scores(scored, DETAILS)


DETAILS = (
    "ref_log_ratio",
    "flip_threshold_loss",
    "max_repairable",
    "ideal_log_ratio",
    "ideal_correct",
    "rank_correct",
    "rank_correct_ln",
)


def flip_threshold_loss(c: Floats, beta: float) -> Floats:
    """DPO loss up to which the policy ranks a pair right, -log S(beta c), shape (n,).

    ``c`` (n,) is log ref(rejected) - log ref(chosen) in nats; S the logistic function. The policy finds chosen at
    least as likely as rejected if and only if its loss on the pair is at most this.
    """
    return np.logaddexp(0.0, -beta * np.asarray(c, dtype=np.float64))


def ipo_needs(tau: float) -> float:
    """Log ref(chosen) - log ref(rejected), in nats, from which on IPO's optimum ranks a pair right: -1/(2 tau)."""
    return -1 / (2 * tau)


def max_repairable(p_chosen: Floats, beta: float, certain: float = 0.999) -> Floats:
    """Largest error c of the reference, in nats, that the optimal policy turns: log(a / (1 - a)) / beta, shape (n,).

    ``p_chosen`` (n,) is a, the share of people who prefer the chosen side, kept in [1 - certain, certain].
    """
    a = np.clip(np.asarray(p_chosen, dtype=np.float64), 1 - certain, certain)
    return np.log(a / (1 - a)) / beta
