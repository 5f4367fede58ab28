"""A reward learned through regret: steps are compared by what they leave possible, not by their own reward alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.heads.base import Arrays, Floats, Head, Predictions, labels_of, side_vectors
from pref_assets.heads.minimise import Tensors, minimise, soft_logistic
from pref_assets.heads.regret_values import regret
from pref_assets.heads.side_values import rated_sides
from pref_assets.pool import Pool
from pref_assets.settings import EmbeddingsName

if TYPE_CHECKING:
    import torch


class Regret(Head):
    """Regret preference model (Knox et al., arXiv:2206.02231): P(1 > 2) = s(regret(2) - regret(1)) with regret =
    V*(s_0) - (return + V*(s_T)), so that a step is judged by its advantage.

    Answers are segments, as a rule a step of reasoning: ``v_start`` and ``v_end`` name rated dimensions of the
    completions that hold V* before and after it, e.g. the share of rollouts from there that succeed. The return is
    w . e, learned, or a rated dimension (``returns``), and then only the weights of the three terms can be learned.
    ``link`` `partial_return` leaves the values out, and is Bradley-Terry where the return is learned; the accuracy,
    Brier score and temperature of the two links on the same pairs tell which one the raters follow (`link_nll` is the
    paper's measure). With equal values everywhere the links are the same. Details: ``regret_chosen``,
    ``regret_rejected``.

    Needs ratings of the values; embeddings where the return is learned.
    """

    type: Literal["regret"] = "regret"
    embeddings: EmbeddingsName | None = None  # type: ignore[assignment]
    """Embeddings of the completions, from which the return is learned."""
    returns: str | None = None
    """Rated dimension that holds the return of a segment, in place of a learned one."""
    v_start: str = "v_start"
    """Rated dimension that holds V* of the first state."""
    v_end: str = "v_end"
    """Rated dimension that holds V* of the last state."""
    link: Literal["regret", "partial_return"] = "regret"
    """What segments are compared by."""
    term_weights: Literal["one", "learned"] = "one"
    """Whether return, V*(s_T) and V*(s_0) count 1, 1 and -1, or weights that are learned."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |w|^2 / 2 against the summed loss."""
    max_steps: int = Field(default=2000, ge=1, le=100_000)
    """Most steps of L-BFGS."""

    @model_validator(mode="after")
    def _one_return(self) -> Self:
        if (self.embeddings is None) == (self.returns is None):
            raise ValueError("learn the return from `embeddings`, or name the dimension `returns`; one of the two")
        return self

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "FittedRegret":
        """Fits the return and the weights of the terms; convex, so that no seed matters.

        Raises:
            ValueError: a completion has no rating of a value or return, or no finite vector; or there is no pair.
            FloatingPointError: L-BFGS did not come to rest in ``max_steps`` steps.
        """
        import torch

        if pairs.is_empty():
            raise ValueError("regret: no pair to learn from")
        good, poor = self.known_terms(pool, pairs)
        known = torch.from_numpy(good - poor)
        label = torch.from_numpy(labels_of(pairs))
        apart = torch.zeros(len(pairs), 0, dtype=torch.float64)
        if self.embeddings is not None:
            chosen, rejected = side_vectors(pool, self.embeddings, pairs)
            apart = torch.from_numpy(chosen - rejected)
        ones = torch.ones(known.shape[1], dtype=torch.float64)

        def loss(at: Tensors) -> "torch.Tensor":
            margins = apart @ at["weights"] + known @ at.get("terms", ones)
            return (soft_logistic(margins, label).sum() + 0.5 * self.l2 * (at["weights"] ** 2).sum()) / len(label)

        start = {"weights": np.zeros(apart.shape[1])}
        if self.term_weights == "learned":
            start["terms"] = np.ones(known.shape[1])
        if not sum(each.size for each in start.values()):
            return FittedRegret(self, start["weights"], ones.numpy())
        found = minimise(loss, start, self.max_steps)
        if not found.converged:
            raise FloatingPointError(f"regret did not converge in {self.max_steps} steps; raise l2 (now {self.l2:g})")
        return FittedRegret(self, found.arrays["weights"], found.arrays.get("terms", ones.numpy()))

    def restore(self, arrays: Arrays) -> "FittedRegret":
        """The head that ``FittedRegret.arrays`` came from."""
        return FittedRegret(self, arrays["weights"], arrays["terms"])

    def known_terms(self, pool: Pool, pairs: pl.DataFrame) -> tuple[Floats, Floats]:
        """Terms of each side that are not learned, (n, t): the return where it is rated, and for `regret` V*(s_T) and
        -V*(s_0)."""
        columns = []
        if self.returns is not None:
            columns.append(rated_sides(pool, pairs, self.returns))
        if self.link == "regret":
            columns.append(rated_sides(pool, pairs, self.v_end))
            start = rated_sides(pool, pairs, self.v_start)
            columns.append((-start[0], -start[1]))
        shape = (len(pairs), len(columns))
        chosen, rejected = (np.array([each[side] for each in columns]).T.reshape(shape) for side in (0, 1))
        return chosen, rejected


@dataclass(frozen=True)
class FittedRegret:
    """A fitted head: ``weights`` (d,) of the return, none where it is rated, and ``terms`` (t,), the weights of the
    terms that are known."""

    config: Regret
    weights: Floats
    terms: Floats

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        """Margins: minus the regret of each side, or its return. Raises as ``Fitted.predict``, and ``ValueError`` where
        a rating is missing."""
        sides = [terms @ self.terms for terms in self.config.known_terms(pool, pairs)]
        returns = [np.zeros(len(pairs)), np.zeros(len(pairs))]
        if self.config.embeddings is not None:
            vectors = side_vectors(pool, self.config.embeddings, pairs, len(self.weights))
            returns = [side @ self.weights for side in vectors]
            sides = [known + learned for known, learned in zip(sides, returns, strict=True)]
        if self.config.returns is not None:
            returns = list(rated_sides(pool, pairs, self.config.returns))
        details = {}
        if self.config.link == "regret":
            starts, ends = (rated_sides(pool, pairs, name) for name in (self.config.v_start, self.config.v_end))
            for place, side in enumerate(("chosen", "rejected")):
                details[f"regret_{side}"] = regret(returns[place], starts[place], ends[place])
        return Predictions(sides[0] - sides[1], sides[0], sides[1], details=details)

    def arrays(self) -> Arrays:
        """``weights`` and ``terms``."""
        return {"weights": self.weights, "terms": self.terms}
