"""How much a training pair helps on trusted pairs, by influence functions."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.pool import Pool, Vectors
from pref_assets.scoring.base import Scorer, pair_scores
from pref_assets.scoring.bradley_terry import margin_vectors
from pref_assets.scoring.gradients.heads import Floats, labels, only_train, residuals, trusted_pairs
from pref_assets.scoring.logistic import fit_heads
from pref_assets.settings import EmbeddingsName

_BLOCK = 8_192  # rows of float64 vectors held at once

Probe = Callable[[pl.DataFrame], Floats]
"""The influence of each of the pairs in a frame, (n,); higher lowers the loss on the trusted pairs."""


class InfluenceScorer(Scorer):
    """A scorer that can also be asked for a few pairs only, as selectors that explore do."""

    seed: int = Field(default=0, ge=0)
    """Draws the trusted pairs when there are more than `trusted`."""
    trusted: int = Field(default=1024, ge=1)
    """The most `validation` pairs that influence is measured on; 1024 in MATES. All of them when there are fewer."""

    @abstractmethod
    def probe(self, pool: Pool) -> Probe:
        """Prepares what all pairs share and returns what measures some. Raises as ``score`` does."""


class Influence(InfluenceScorer):
    """Influence of a train pair on the loss of trusted pairs, at a Bradley-Terry head (Koh & Liang,
    arXiv:1703.04730, equation 2; for data selection Quad, Zhang et al., arXiv:2409.16986).

    ``score`` = g_ref' (H + damping I)^-1 g_pair: how much the mean loss of the `validation` pairs would rise if the
    pair were taken out, so higher is better and a negative pair does harm. (Quad's I is its negative: the change of
    loss when the pair weighs more.) H is exact, the Hessian of the head's whole objective with its l2; no K-FAC, no
    projection. The head is fitted on all train pairs, as the question is what leaving one out would change; details:
    ``leave_one_out``, the same after a Newton step on the objective without the pair (self-leverage taken out), and
    ``self_influence`` = g' H^-1 g, large for pairs that nothing else supports. Only train pairs have numbers; `test`
    pairs are never looked at. Where the trusted pairs are no cleaner than many train pairs, g_ref is close to zero at
    the optimum, and influence is noise; trusted labels of better quality, or a large `l2` (a head that has learnt
    little, as early in training), keep it telling. O(n · d^2 + d^3).
    """

    type: Literal["influence"] = "influence"
    embeddings: EmbeddingsName
    """Embeddings of the completions, prompt included."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |w|^2 / 2 against the summed loss of the head; part of the Hessian. From about the number of pairs on,
    the head has hardly left zero."""
    damping: float = Field(default=0.0, ge=0)
    """Added to the Hessian's diagonal beyond `l2`."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES``, null outside ``train``.

        Raises:
            ValueError: no validation or no train pair, or a completion without a finite vector.
        """
        at_optimum = self.fitted(pool)
        train = pool.candidates()
        parts = [at_optimum.details(part) for part in train.iter_slices(_BLOCK)]
        frame = only_train(pool.pairs, pl.concat(parts))
        return pair_scores(frame, details=["leave_one_out", "self_influence"])

    def probe(self, pool: Pool) -> Probe:
        return self.fitted(pool).of

    def fitted(self, pool: Pool) -> "AtOptimum":
        """The head, and the direction in which a gradient counts."""
        vectors, train = pool.embeddings[self.embeddings], pool.candidates()
        if train.is_empty():
            raise ValueError("influence: there is no train pair to fit the head on")
        trusted = trusted_pairs(pool, self.trusted, self.seed)
        differences, p_chosen = margin_vectors(train, vectors), labels(train)
        head = fit_heads(differences, p_chosen, np.ones((len(train), 1)), self.l2)[:, 0]
        p = residuals(differences @ head, np.zeros(1))
        hessian = differences.T @ ((p * (1 - p))[:, None] * differences)
        hessian[np.diag_indices_from(hessian)] += self.l2 + self.damping
        reference = margin_vectors(trusted, vectors)
        gradient = reference.T @ residuals(reference @ head, labels(trusted)) / len(trusted)
        inverse = np.linalg.inv(hessian).astype(np.float64)
        return AtOptimum(vectors, head, inverse, inverse @ gradient)


@dataclass(frozen=True)
class AtOptimum:
    """A fitted head (d,), the inverse of its Hessian (d, d), and ``direction`` = H^-1 g_ref (d,)."""

    vectors: Vectors
    head: Floats
    inverse: Floats
    direction: Floats

    def of(self, pairs: pl.DataFrame) -> Floats:
        """g_ref' H^-1 g of each pair, (n,)."""
        differences = margin_vectors(pairs, self.vectors)
        result: Floats = residuals(differences @ self.head, labels(pairs)) * (differences @ self.direction)
        return result

    def details(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Frame (pair_id, score, leave_one_out, self_influence) of train pairs."""
        differences = margin_vectors(pairs, self.vectors)
        residual = residuals(differences @ self.head, labels(pairs))
        score = residual * (differences @ self.direction)
        leverage = ((differences @ self.inverse) * differences).sum(axis=1)
        p = residuals(differences @ self.head, np.zeros(1))
        # Without the pair the Hessian lacks p (1 - p) d d', a change of rank one (Sherman & Morrison).
        without = score / (1 - p * (1 - p) * leverage)
        return pairs.select("pair_id").with_columns(
            score=pl.Series(score),
            leave_one_out=pl.Series(without),
            self_influence=pl.Series(residual**2 * leverage),
        )
