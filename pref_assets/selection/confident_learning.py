"""Finds flipped labels by counting confident contradictions."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool, seeded_hash
from pref_assets.selection.base import ranked
from pref_assets.selection.cleaning import Cleaner, mixed
from pref_assets.settings import ScoresName

Floats = NDArray[np.float64]
_SLACK = 1e-6
"""A probability this little below the threshold still counts as confident, as in the authors' package."""


class ConfidentLearning(Cleaner):
    """Flags the pairs whose other label a model believes with more than its usual confidence, or as many as such
    counts say are wrong. Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels"
    (arXiv:1911.00068), section 3.

    A pair has one label, "the chosen side wins", so each counts in both orders: the two classes mirror one another, and
    with p the probability that a label is right, the threshold of both is the mean of p over labelled pairs. A label is
    contradicted with confidence when 1 - p reaches it, and p is smaller. Pairs that are ties (p_chosen 0.5) have no
    label that could be wrong: they stay and do not count. On pairs in both orders this flags what the authors' package
    cleanlab flags. Probabilities must be out of fold, or a wrong label vouches for itself.

    Needs scores with probabilities. Cost O(n log n).
    """

    type: Literal["confident_learning"] = "confident_learning"
    scores: ScoresName
    """Scores with out-of-fold probabilities that labels are right."""
    column: str = "p_correct"
    """Which number of the scores is that probability: a column, or one of their named details."""
    rule: Literal["prune_by_noise_rate", "confident_learning", "predicted_other"] = "prune_by_noise_rate"
    """`confident_learning`: every confident contradiction. `prune_by_noise_rate`: the least probable labels, as many as
    the counts say are wrong. `predicted_other`: every label below one half, which under all rules a flag has to be."""
    action: Literal["drop", "flip", "weight"] = "drop"
    """What becomes of flagged pairs: they go, train with the other label, or count as much as they are probable."""
    least_weight: float = Field(default=0.01, gt=0, le=1)
    """Smallest weight under `weight`: a pair that trains has one above zero."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool; ``score`` is the probability that the label is right.

        Raises:
            ValueError: a train pair has no probability, or one outside [0, 1]; fewer pairs are clean than the budget.
        """
        order = ranked(pool.scored(self.scores, self.column), self.seed)
        broken = order.filter(~pl.col("score").is_between(0, 1))["pair_id"]
        if len(broken):
            raise ValueError(
                f"{len(broken)} of {len(order)} train pairs have no probability as {self.column!r} in scores "
                f"{self.scores!r}, e.g. {broken.sort().head(3).to_list()}; name a column that holds one"
            )
        known = order.filter(pl.col("p_chosen") != 0.5)
        hashes = seeded_hash(known["pair_id"], self.seed, "tie").to_numpy()
        wrong = known.filter(pl.Series(flagged(known["score"].to_numpy(), hashes, self.rule)))["pair_id"]
        order = order.with_columns(wrong=pl.col("pair_id").is_in(wrong.to_list()))
        found = pl.format(
            f"{{}}: {self.rule}, label right with probability {{}}", self._code(), pl.col("score").round(4)
        )
        columns = {
            "clean": pl.lit(True) if self.action != "drop" else ~pl.col("wrong"),
            "reason": pl.when("wrong").then(found).otherwise(pl.lit("selected: label looks right")),
        }
        if self.action == "flip":
            columns["p_chosen"] = pl.when("wrong").then(mixed(pl.col("p_chosen"), 1.0))
        if self.action == "weight":
            weight = pl.max_horizontal(pl.col("score"), pl.lit(self.least_weight))
            columns["weight"] = pl.when("wrong").then(weight).otherwise(1.0)
        return self.keep(pool, order.select("pair_id", "score", **columns))

    def _code(self) -> pl.Expr:
        return pl.lit({"drop": "flipped", "flip": "flipped_label", "weight": "weighted"}[self.action])


def flagged(p_correct: Floats, hashes: NDArray[np.uint64], rule: str) -> NDArray[np.bool_]:
    """Which labels are wrong by the rules of ``ConfidentLearning``, (n,).

    Args:
        p_correct: (n,) in [0, 1]. hashes: (n,), decide between equal probabilities under ``prune_by_noise_rate``.
    """
    if not len(p_correct):
        return np.zeros(0, dtype=bool)
    other = p_correct < 0.5
    if rule == "predicted_other":
        return np.asarray(other)
    contradicted, supported = confident(p_correct)
    if rule == "confident_learning":
        return contradicted & other
    share = contradicted.sum() / (contradicted.sum() + max(1, supported.sum()))
    count = round(float(len(p_correct) * share))
    least = np.zeros(len(p_correct), dtype=bool)
    least[np.lexsort((hashes, p_correct))[:count]] = True
    return least & other


def confident(p_correct: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which labels a model contradicts, and which it supports, with at least its mean confidence: (n,) each."""
    threshold = float(np.mean(np.sort(p_correct))) - _SLACK
    other = 1 - p_correct
    against, towards = other >= threshold, p_correct >= threshold
    # Under a mean below one half both labels can reach the threshold: the more probable one counts.
    return against & (~towards | (other > p_correct)), towards & (~against | (p_correct >= other))
