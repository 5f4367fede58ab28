"""A reward that is to tell apart the answers of a policy that has moved away from the labelled data."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.heads.base import Arrays, Fitted, Floats, Head, labels_of, side_vectors
from pref_assets.heads.scalar import LinearReward, restored
from pref_assets.pool import Pool

_BETA_1, _BETA_2, _TINY = 0.9, 0.999, 1e-8
"""Adam's decay rates and floor (arXiv:1412.6980)."""


class MetaBt(Head):
    """MetaRM (Dou et al., arXiv:2405.00438; Wang et al., arXiv:2401.06080, section 4): each step first climbs a
    difference loss J on answers of the new policy, w' = w + eta grad J(w), then descends the preference loss there,
    w <- w - alpha grad L(w').

    J is the mean of s(|r(x, y_i) - r(x, y_j)|) over pairs of fresh answers to a prompt; it needs no labels. [choice]
    The reward is linear on embeddings, and grad L(w') stands for the derivative by w. With ``inner_rate`` 0 this is
    Bradley-Terry by Adam. Fresh answers are the completions of ``models`` that have embeddings, whatever pairs they
    are in: heads of a fold see the vectors of its answers, never its labels.

    Needs embeddings, and two answers of ``models`` for some prompts. O(epochs n d).
    """

    type: Literal["meta_bt"] = "meta_bt"
    models: tuple[str, ...] = Field(min_length=1)
    """Names (`model` of the completions) of the policy whose answers the reward is to tell apart."""
    inner_rate: float = Field(default=0.1, ge=0)
    """eta, the step up J; embeddings of unit length want larger steps than a language model's weights."""
    fresh_pairs: int = Field(default=64, ge=1)
    """Pairs of fresh answers in a step."""
    most_pairs: int = Field(default=10_000, ge=1)
    """Most pairs of fresh answers altogether, drawn by the seed; of each prompt neighbours in the order of ids."""
    epochs: int = Field(default=30, ge=1)
    """Passes over the labelled pairs."""
    batch_pairs: int = Field(default=64, ge=1)
    """Labelled pairs in a step."""
    learning_rate: float = Field(default=0.05, gt=0)
    """alpha, the step of Adam."""
    l2: float = Field(default=1.0, ge=0)
    """Weight of |w|^2 / 2 against the summed loss."""

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> Fitted:
        """Trains the reward.

        Raises:
            ValueError: no prompt has two fresh answers with embeddings (says which models there are), there is no
                pair, or a completion has no finite vector.
            FloatingPointError: the weights left the range of floats.
        """
        if pairs.is_empty():
            raise ValueError("meta_bt: no pair to learn from")
        chosen, rejected = side_vectors(pool, self.embeddings, pairs)
        apart, labels, fresh = chosen - rejected, labels_of(pairs), self._fresh(pool)
        heads = first = second = np.zeros(apart.shape[1])
        for step, (rows, seen) in enumerate(self._batches(len(pairs), len(fresh)), start=1):
            moved = heads + self.inner_rate * difference_slope(heads, fresh[seen])
            margins = apart[rows] @ moved
            slope = apart[rows].T @ (0.5 * (1 + np.tanh(margins / 2)) - labels[rows]) / len(rows)
            slope = slope + self.l2 / len(pairs) * moved
            first = _BETA_1 * first + (1 - _BETA_1) * slope
            second = _BETA_2 * second + (1 - _BETA_2) * slope**2
            scale = np.sqrt(second / (1 - _BETA_2**step)) + _TINY
            heads = heads - self.learning_rate * first / (1 - _BETA_1**step) / scale
        if not np.isfinite(heads).all():
            raise FloatingPointError("meta_bt: the reward diverged; lower learning_rate or inner_rate")
        return LinearReward(self.embeddings, heads)

    def restore(self, arrays: Arrays) -> Fitted:
        """The head that ``Fitted.arrays`` came from."""
        return restored(self.embeddings, arrays)

    def _batches(self, labelled: int, fresh: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        for epoch in range(self.epochs):
            draw = np.random.default_rng([self.seed, epoch])
            order = draw.permutation(labelled)
            for start in range(0, labelled, self.batch_pairs):
                yield order[start : start + self.batch_pairs], draw.integers(fresh, size=self.fresh_pairs)

    def _fresh(self, pool: Pool) -> Floats:
        """Differences (m, d) of vectors of fresh answers to the same prompt."""
        vectors = pool.embeddings[self.embeddings]
        asked = pl.col("model").is_in(list(self.models)) & pl.col("completion_id").is_in(vectors.ids)
        mine = pool.completions.filter(asked & pl.col("prompt_id").is_not_null()).sort("prompt_id", "completion_id")
        after = pl.col("completion_id").shift(-1).over("prompt_id")
        found = mine.select(one="completion_id", other=after).drop_nulls("other")
        if found.is_empty():
            known = pool.completions["model"].drop_nulls().unique().sort().to_list()
            raise ValueError(
                f"meta_bt: no prompt has two answers with embeddings by models {list(self.models)}; "
                f"models of the completions: {known[:20]}"
            )
        found = found.sample(min(len(found), self.most_pairs), seed=self.seed)
        one, other = (vectors.rows(found[name].to_list()).astype(np.float64) for name in ("one", "other"))
        result: Floats = one - other
        return result


def difference_loss(weights: Floats, fresh: Floats) -> float:
    """J = mean of s(|w . x|) over differences x of fresh answers, ``fresh`` (m, d); 0.5 where nothing is told apart."""
    return float((0.5 * (1 + np.tanh(np.abs(fresh @ weights) / 2))).mean())


def difference_slope(weights: Floats, fresh: Floats) -> Floats:
    """Gradient of `difference_loss`, (d,). Where w . x is 0, as at the start, the kink's slope is taken as 0."""
    margins = fresh @ weights
    share = 0.5 * (1 + np.tanh(np.abs(margins) / 2))
    result: Floats = fresh.T @ (share * (1 - share) * np.sign(margins)) / len(fresh)
    return result
