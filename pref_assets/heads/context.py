"""A reward that depends on the criterion or scenario under which answers are compared."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.heads.base import Arrays, Floats, Head, Predictions, labels_of, side_vectors
from pref_assets.heads.contexts import context_vectors, mixed_preference
from pref_assets.heads.minimise import Tensors, minimise, soft_logistic
from pref_assets.heads.words import array_words, word_array
from pref_assets.pool import Pool

if TYPE_CHECKING:
    import torch


class Context(Head):
    """Context-aware reward (Pitis et al., arXiv:2407.14916): r(x, y | z) with z the prompt's ``context``, so that the
    same two answers may be preferred either way.

    r = w . e + (A b(z)) . (B e), b(z) a hashed bag of the context's words. The paper's model is a language model with
    the context before the prompt; embeddings here do not read the context, so that every reward of the embedding alone
    is at exactly one half where each comparison occurs under two opposite contexts. A pair without a context gets
    sum_z p(z) s(margin under z) over the training contexts, by how often each occurs there, as log-odds (``unknown``
    `mixture`), or w . e alone (`none`); the mixture has no reward of one side, and the scores are then means over the
    contexts. Details: ``without``, the margin of w . e, and ``swing``, the standard deviation of the
    margin over the training contexts.

    Needs embeddings and contexts. O(max_steps n d rank).
    """

    type: Literal["context"] = "context"
    rank: int = Field(default=8, ge=1, le=256)
    """Width of A b(z) and B e."""
    buckets: int = Field(default=512, ge=8, le=1_000_000)
    """Buckets of the bag of words."""
    unknown: Literal["mixture", "none"] = "mixture"
    """What to make of a pair without a context."""
    most_contexts: int = Field(default=64, ge=1, le=10_000)
    """Most training contexts in the mixture; the most frequent stay."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |w|^2 / 2 against the summed loss."""
    interaction_l2: float = Field(default=0.3, gt=0)
    """Weight of (|A|^2 + |B|^2) / 2 against the summed loss."""
    max_steps: int = Field(default=300, ge=1, le=100_000)
    """Most steps of L-BFGS."""

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "FittedContext":
        """Fits w, A and B.

        Raises:
            ValueError: no pair has a prompt with a context, or a completion has no finite vector.
        """
        import torch

        contexts = contexts_of(pool, pairs)
        counts = contexts.drop_nulls().value_counts().sort(["count", contexts.name], descending=[True, False])
        if counts.is_empty():
            raise ValueError(f"context: none of the {len(pairs)} pairs has a prompt with a context; use `bt`")
        chosen, rejected = side_vectors(pool, self.embeddings, pairs)
        apart = torch.from_numpy(chosen - rejected)
        bags = torch.from_numpy(context_vectors(contexts.to_list(), self.buckets))
        label = torch.from_numpy(labels_of(pairs))

        def loss(at: Tensors) -> "torch.Tensor":
            margins = apart @ at["shared"] + ((bags @ at["words"].T) * (apart @ at["items"].T)).sum(1)
            size = self.l2 * (at["shared"] ** 2).sum()
            size = size + self.interaction_l2 * ((at["words"] ** 2).sum() + (at["items"] ** 2).sum())
            return (soft_logistic(margins, label).sum() + 0.5 * size) / len(label)

        width = chosen.shape[1]
        spread = float(np.sqrt(((chosen - rejected) ** 2).sum(axis=1).mean())) or 1.0
        draw = np.random.default_rng([self.seed, width, self.buckets])
        start = {
            "shared": np.zeros(width),
            "words": draw.normal(scale=1 / np.sqrt(self.rank), size=(self.rank, self.buckets)),
            "items": draw.normal(scale=1 / spread / np.sqrt(self.rank), size=(self.rank, width)),
        }
        found = minimise(loss, start, self.max_steps).arrays
        kept = counts.head(self.most_contexts)
        prior = kept["count"].to_numpy() / kept["count"].sum()
        return FittedContext(
            self, found["shared"], found["words"], found["items"], kept[contexts.name].to_list(), prior
        )

    def restore(self, arrays: Arrays) -> "FittedContext":
        """The head that ``FittedContext.arrays`` came from."""
        known = array_words(arrays["known"])
        return FittedContext(self, arrays["shared"], arrays["words"], arrays["items"], known, arrays["prior"])


@dataclass(frozen=True)
class FittedContext:
    """A fitted head: ``shared`` w (d,), ``words`` A (rank, buckets), ``items`` B (rank, d), and the ``known`` contexts
    of training with their shares ``prior`` (Z,)."""

    config: Context
    shared: Floats
    words: Floats
    items: Floats
    known: list[str]
    prior: Floats

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        """Margins under each pair's own context. Raises ``ValueError`` as ``Fitted.predict``."""
        sides = side_vectors(pool, self.config.embeddings, pairs, len(self.shared))
        contexts = contexts_of(pool, pairs)
        absent = contexts.is_null().to_numpy()
        own = self._weights(contexts.to_list())
        everywhere = self._weights(list(self.known))
        if self.config.unknown == "mixture":
            own[absent] = self.prior @ everywhere
        good, poor = (side @ self.shared + (own * (side @ self.items.T)).sum(axis=1) for side in sides)
        by_context = self.margins(sides[0] - sides[1])
        margin = good - poor
        if self.config.unknown == "mixture" and absent.any():
            prior = np.broadcast_to(self.prior, by_context.shape)
            log_yes, log_no = (_log_mixed(sign * by_context, prior) for sign in (1, -1))
            margin = np.where(absent, log_yes - log_no, margin)
        middle = by_context @ self.prior
        swing = np.sqrt(((by_context - middle[:, None]) ** 2) @ self.prior)
        without = (sides[0] - sides[1]) @ self.shared
        return Predictions(margin, good, poor, details={"without": without, "swing": swing})

    def margins(self, apart: Floats) -> Floats:
        """Margins (n, Z) of differences of vectors (n, d) under each known context."""
        everywhere = self._weights(list(self.known))
        result: Floats = (apart @ self.shared)[:, None] + (apart @ self.items.T) @ everywhere.T
        return result

    def arrays(self) -> Arrays:
        """The fields, the contexts as bytes."""
        return {
            "shared": self.shared,
            "words": self.words,
            "items": self.items,
            "known": word_array(self.known),
            "prior": self.prior,
        }

    def _weights(self, contexts: list[str | None]) -> Floats:
        result: Floats = context_vectors(contexts, self.config.buckets) @ self.words.T
        return result


def contexts_of(pool: Pool, pairs: pl.DataFrame) -> pl.Series:
    """The context of each pair's prompt, (n,), null where there is none or the pair has no common prompt."""
    known = pool.prompts.select("prompt_id", "context")
    return pairs.select("prompt_id").join(known, on="prompt_id", how="left", maintain_order="left")["context"]


def _log_mixed(margins: Floats, weights: Floats) -> Floats:
    """log sum_z p(z) s(margin_z), (n,); not below what float64 holds."""
    return np.log(np.maximum(mixed_preference(np.exp(-np.logaddexp(0, -margins)), weights), 1e-300))
