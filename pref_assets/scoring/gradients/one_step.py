"""How much a training pair helps on trusted pairs, by taking one optimiser step on it alone."""

from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.pool import Pool
from pref_assets.scoring.base import pair_scores
from pref_assets.scoring.bradley_terry import ensemble_of, margin_vectors
from pref_assets.scoring.gradients.heads import Floats, labels, losses, only_train, residuals, trusted_pairs
from pref_assets.scoring.gradients.influence import InfluenceScorer, Probe
from pref_assets.settings import EnsembleName

_BLOCK = 1_024  # stepped heads held at once, each against every trusted pair


class OneStepInfluence(InfluenceScorer):
    """The probe of MATES (Yu et al., arXiv:2406.06046, section 3): one optimiser step on one pair, and by how much
    the loss of trusted pairs falls.

    ``score`` = loss before - loss after, mean over the `validation` pairs, so higher is better. (MATES stores the loss
    after the step, where lower is better.) The step starts at the reward model's heads, the mean over members; for a
    train pair at those that never saw its prompt, as a step on a pair already learnt says little. The heads themselves
    do not change. The first step of AdamW has no history: its moments cancel to g / (|g| + eps), whatever the betas.
    Only train pairs have numbers; `test` pairs are never looked at. O(n · trusted · d), memory O(trusted).
    """

    type: Literal["one_step_influence"] = "one_step_influence"
    reward_model: EnsembleName
    """The ensemble to step from."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """`adamw` in MATES, which of a single pair keeps only the signs of the gradient; `sgd` keeps its size."""
    lr: float = Field(default=0.01, gt=0)
    """Length of the step. MATES: 1e-3 with AdamW. With SGD and 0.01 the order is that of g_ref' g_pair."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient before the step; 1 in MATES, none if left out."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Share of the head, times `lr`, that the step takes away; 0.1 in MATES."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of AdamW's second moment."""

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES``, null outside ``train``.

        Raises:
            ValueError: no validation pair, a completion without a finite vector, or vectors of another width than the
                ensemble's.
        """
        train = pool.candidates()
        score = pl.Series(self.probe(pool)(train), dtype=pl.Float64)
        return pair_scores(only_train(pool.pairs, train.select("pair_id", score=score)))

    def probe(self, pool: Pool) -> Probe:
        ensemble = ensemble_of(pool, self.reward_model, self.type)
        vectors = pool.embeddings[ensemble.config.embeddings]
        if vectors.matrix.shape[1] != ensemble.heads.shape[2]:
            raise ValueError(
                f"the ensemble reads vectors of width {ensemble.heads.shape[2]}, not {vectors.matrix.shape[1]}"
            )
        trusted = trusted_pairs(pool, self.trusted, self.seed)
        reference, wanted = margin_vectors(trusted, vectors), labels(trusted)
        heads = ensemble.heads.mean(axis=1)

        def probe(pairs: pl.DataFrame) -> Floats:
            fold = ensemble.fold_of(pairs)
            found = np.empty(len(pairs))
            for k in np.unique(fold):
                rows = np.flatnonzero(fold == k)
                head = heads[k] if k >= 0 else heads.mean(axis=0)
                for start in range(0, len(rows), _BLOCK):
                    block = rows[start : start + _BLOCK]
                    part = pairs[block]
                    found[block] = self.gain(head, margin_vectors(part, vectors), labels(part), reference, wanted)
            return found

        return probe

    def gain(
        self, head: Floats, differences: Floats, p_chosen: Floats, reference: Floats, reference_p: Floats
    ) -> Floats:
        """By how much the mean loss of the reference falls after a step on each pair alone, (n,).

        Args:
            head: (d,). differences: (n, d) and p_chosen (n,) of the pairs. reference: (m, d) and reference_p (m,).
        """
        before = losses(reference @ head, reference_p).mean()
        after = losses(self.stepped(head, differences, p_chosen) @ reference.T, reference_p).mean(axis=1)
        result: Floats = before - after
        return result

    def stepped(self, head: Floats, differences: Floats, p_chosen: Floats) -> Floats:
        """The head after one step on each pair alone, (n, d)."""
        gradient = residuals(differences @ head, p_chosen)[:, None] * differences
        if self.clip is not None:
            size = np.linalg.norm(gradient, axis=1, keepdims=True)
            gradient = gradient * np.minimum(1, self.clip / np.maximum(size, np.finfo(np.float64).tiny))
        if self.optimizer == "adamw":
            gradient = gradient / (np.abs(gradient) + self.eps)
        result: Floats = head * (1 - self.lr * self.weight_decay) - self.lr * gradient
        return result
