"""Learns how likely each label is flipped, together with what is preferred."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool, Vectors, seeded_hash
from pref_assets.scoring.bradley_terry import margin_vectors
from pref_assets.selection.cleaning import Cleaner, mixed
from pref_assets.selection.flip_likelihood import fit_two_heads, flip_probability
from pref_assets.settings import EmbeddingsName

Floats = NDArray[np.float64]
_CODES = {"weight": "weighted", "soft_label": "soft_label", "drop": "flipped", "flip": "flipped_label"}


class FlipModel(Cleaner):
    """Weighs pairs by how likely their label is right, under a model with a preference head and a flip head, after the
    noisy-label robust optimisation of Yu & Qin, "Sampler Design for Implicit Feedback Data by Noisy-label Robust
    Learning" (NBPO, SIGIR 2020).

    NBPO learns a score and a flip logit g by matrix factorisation from votes of users on items. Here, on pairs: R is
    linear in e(chosen) - e(rejected), g linear in the mean of the two (which the order of a pair does not change) with
    a bias that starts at the log-odds of ``prior``, so that labels are trusted at first, and P(chosen wins) =
    (1 - e) s(R) + e s(-R) with e = s(g). NBPO's updates hold parts of the gradient constant; here the likelihood itself
    is minimised, whose gradient at e = 0 is the same [choice]. ``p_flip`` is the probability of a flip given the label,
    by heads that did not see the pair's prompt. The weight is NBPO's correction 1 - 2 p_flip; pairs where it is not
    above ``least_weight`` are dropped, as a loss cannot weigh them negatively.

    Needs embeddings. Cost O(folds x steps x n d) time, some 15 steps for embeddings of unit length and hundreds for
    long ones, O(n d) memory.
    """

    type: Literal["flip_model"] = "flip_model"
    embeddings: EmbeddingsName
    """Embeddings of the completions, prompt included."""
    action: Literal["weight", "soft_label", "drop", "flip"] = "weight"
    """What p_flip becomes: a weight 1 - 2 p_flip, an uncertain label, or, above `threshold`, a dropped pair or one that
    trains with the other label."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Flip probability above which `drop` and `flip` act."""
    least_weight: float = Field(default=0.01, gt=0, lt=1)
    """Smallest weight with which a pair trains under `weight`."""
    prior: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of flipped labels that the model starts from and is drawn towards."""
    folds: int = Field(default=5, ge=2, le=50)
    """Parts that the prompts are cut into; a pair is judged by heads fitted on the others."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |w|^2 / 2 of the preference head against the summed loss."""
    l2_flip: float = Field(default=10.0, gt=0)
    """The same of the flip head; larger lets the flip rate depend less on the pair."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool, ranked from the least likely flip; ``score`` is the probability of a flip.

        Raises:
            ValueError: a completion has no finite vector, all train pairs fall into one fold, or fewer pairs are clean
                than the budget.
        """
        pairs = pool.candidates()
        p_flip = self.p_flip(pairs, pool.embeddings[self.embeddings])
        order = pairs.select("pair_id", "p_chosen", score=pl.Series(p_flip, dtype=pl.Float64))
        order = order.with_columns(hash=seeded_hash(order["pair_id"], self.seed, "tie")).sort("score", "hash")
        flip, weight = pl.col("score"), 1 - 2 * pl.col("score")
        likely = (flip > self.threshold) & (pl.col("p_chosen") != 0.5)
        columns: dict[str, pl.Expr] = {"clean": pl.lit(True)}
        if self.action == "weight":
            likely, columns = pl.lit(True), {"clean": weight >= self.least_weight}
            columns["weight"] = pl.when("clean").then(weight).otherwise(1.0)
        elif self.action == "soft_label":
            likely = pl.lit(True)
            columns["p_chosen"] = mixed(pl.col("p_chosen"), flip)
        elif self.action == "flip":
            columns["p_chosen"] = pl.when(likely).then(mixed(pl.col("p_chosen"), 1.0))
        else:
            columns["clean"] = ~likely
        code = pl.when(columns["clean"]).then(pl.lit(_CODES[self.action])).otherwise(pl.lit("flipped"))
        said = pl.format("{}: flipped with probability {}", code, flip.round(4))
        reason = pl.when(likely).then(said).otherwise(pl.lit("selected: label looks right"))
        order = order.with_columns(clean=columns.pop("clean"), reason=reason)
        return self.keep(pool, order.select("pair_id", "score", "clean", "reason", **columns))

    def p_flip(self, pairs: pl.DataFrame, vectors: Vectors) -> Floats:
        """How likely the label of each pair is flipped, (n,), by heads that did not see its prompt; 0 of a tie, which
        has no label that could be.

        Args:
            pairs: ordered by id.

        Raises:
            ValueError: a completion has no finite vector, or all pairs fall into one fold.
        """
        if pairs.is_empty():
            return np.zeros(0)
        prompts = pairs.select(pl.coalesce("prompt_id", "pair_id")).to_series()
        fold = (seeded_hash(prompts, self.seed, "fold") % self.folds).to_numpy()
        if len(np.unique(fold)) < 2:
            raise ValueError(
                f"flip_model: all {len(pairs)} train pairs fall into one of {self.folds} folds by prompt; it needs "
                "pairs of at least two prompts, better of hundreds"
            )
        x = margin_vectors(pairs, vectors)
        # e(chosen) - x / 2 is the mean of both sides.
        z = vectors.rows(pairs["chosen_id"].to_list()) - x / 2
        label = pairs["p_chosen"].to_numpy().astype(np.float64)
        found = np.empty(len(pairs))
        for part in np.unique(fold):
            seen, here = fold != part, fold == part
            heads = fit_two_heads(x[seen], z[seen], label[seen], self.prior, self.l2, self.l2_flip)
            p = flip_probability(heads.margins(x[here]), heads.flip_logits(z[here]))
            other = flip_probability(-heads.margins(x[here]), heads.flip_logits(z[here]))
            found[here] = label[here] * p + (1 - label[here]) * other
        found[label == 0.5] = 0.0
        return found
