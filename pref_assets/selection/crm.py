"""Finds wrong labels by two reward heads that review one another."""

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool, Vectors, seeded_hash
from pref_assets.scoring.bradley_terry import margin_vectors
from pref_assets.selection.cleaning import Cleaner
from pref_assets.selection.peer_review import Course, Review, first_heads, losses, lowest, train_peers
from pref_assets.settings import EmbeddingsName

Floats = NDArray[np.float64]


class Crm(Cleaner):
    """Drops the pairs that two reward heads, each trained on what the other believes, both find hard: collaborative
    reward modelling (arXiv:2505.10597), which is co-teaching (Han et al., arXiv:1804.06872) for preference pairs.

    The heads are linear on embeddings and start differently. In each batch a head passes the pairs it finds easiest to
    its peer; the share passed falls from 1 to 1 - ``noise_rate``. The paper orders data from large to small margins;
    sorted globally, with a fixed share a batch, that collapses, because the last batches are all noise and still pass
    that share. So batches are shuffled, and ``curriculum`` lets their mean margin fall slowly at most. Baselines of the
    paper's reviewers: ``review: self`` (each head trims for itself) and ``none`` (two heads on everything). Heads see
    the pairs that they judge, as in the paper: with more dimensions than a quarter of the pairs they learn the noise by
    heart, and an out-of-fold method is better.

    Needs embeddings. Cost O(epochs n d) time, O(n d) memory.
    """

    type: Literal["crm"] = "crm"
    embeddings: EmbeddingsName
    """Embeddings of the completions, prompt included."""
    noise_rate: float = Field(default=0.2, ge=0, lt=1)
    """Share of labels taken to be wrong; known or estimated, e.g. by `confident_learning`."""
    rule: Literal["both_reject", "lowest_share"] = "both_reject"
    """Which pairs go: those among the `noise_rate` hardest of both heads, or the `noise_rate` with the lowest mean
    margin."""
    review: Review = "peer"
    """Who chooses what trains a head: the other (co-teaching), itself (self-trimming), or nobody."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the pairs."""
    ramp_epochs: int = Field(default=15, ge=0)
    """Epochs over which the share passed on falls to 1 - `noise_rate`; 0 starts there."""
    batch_pairs: int = Field(default=128, ge=1)
    """Pairs a step; the share is taken of each batch."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Step of Adam."""
    l2: float = Field(default=1.0, ge=0)
    """Weight of |w|^2 / 2 against the summed loss."""
    curriculum: float = Field(default=0.0, ge=0, le=0.8)
    """How much batches go from large to small margins: 0 is chance, 1 would be the global order, which fails."""

    def select(self, pool: Pool) -> pl.DataFrame:
        """Decisions for the pool, ranked from the highest mean margin; ``score`` is the mean margin of both heads.

        Raises:
            ValueError: a completion has no finite vector, or fewer pairs are clean than the budget.
            FloatingPointError: the learning rate is too high.
        """
        pairs = pool.candidates()
        found = self.reviewed(pairs, pool.embeddings[self.embeddings])
        order = found.with_columns(
            score=(pl.col("margin_a") + pl.col("margin_b")) / 2, hash=seeded_hash(found["pair_id"], self.seed, "tie")
        ).sort(["score", "hash"], descending=[True, False])
        if self.rule == "both_reject":
            wrong = ~pl.col("kept_by_a") & ~pl.col("kept_by_b")
        else:
            wrong = pl.int_range(pl.len()) >= pl.len() - round(self.noise_rate * len(order))
        margins = pl.format("margins {} and {}", pl.col("margin_a").round(3), pl.col("margin_b").round(3))
        order = order.with_columns(wrong=wrong).select(
            "pair_id",
            "score",
            clean=~pl.col("wrong"),
            reason=pl.when("wrong")
            .then(pl.format(f"flipped: {self.rule}, {{}}", margins))
            .otherwise(pl.format("selected: {}", margins)),
        )
        return self.keep(pool, order)

    def reviewed(self, pairs: pl.DataFrame, vectors: Vectors) -> pl.DataFrame:
        """Frame (pair_id, margin_a, margin_b, kept_by_a, kept_by_b) of pairs ordered by id: the margins of the chosen
        over the rejected side, and whether the loss is among the 1 - ``noise_rate`` lowest of each head.

        Raises:
            ValueError: a completion has no finite vector.
        """
        x = margin_vectors(pairs, vectors)
        label = pairs["p_chosen"].to_numpy().astype(np.float64)
        heads = train_peers(x, label, first_heads(x.shape[1], self.seed), self._course())
        margins = x @ heads
        kept = lowest(losses(margins, label[:, None]), len(pairs) - round(self.noise_rate * len(pairs)))
        return pairs.select("pair_id").with_columns(
            margin_a=pl.Series(margins[:, 0]),
            margin_b=pl.Series(margins[:, 1]),
            kept_by_a=pl.Series(kept[:, 0]),
            kept_by_b=pl.Series(kept[:, 1]),
        )

    def _course(self) -> Course:
        shared = self.model_dump(include=set(Course.__annotations__))
        return Course(**shared)
