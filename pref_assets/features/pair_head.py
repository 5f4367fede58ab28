"""A small Bradley-Terry reward head on embeddings, in NumPy, that is watched while it trains."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Vectors, seeded_hash
from pref_assets.settings import Settings

Floats = NDArray[np.float32]
ROWS = 8192  # pairs evaluated at once: bounds memory, changes no result
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Adam as published


@dataclass(frozen=True)
class Sides:
    """Pairs as a head sees them: ``chosen`` and ``rejected`` (n, d), those of ``train`` pairs of mean length 1, and
    ``p_chosen`` (n,)."""

    chosen: Floats
    rejected: Floats
    p_chosen: Floats

    def rows(self, rows: NDArray[np.int64] | slice) -> "Sides":
        return Sides(self.chosen[rows], self.rejected[rows], self.p_chosen[rows])

    def __len__(self) -> int:
        return len(self.p_chosen)


def sides_of(pairs: pl.DataFrame, vectors: Vectors) -> Sides:
    """The two sides of the pairs, in their order.

    Raises:
        ValueError: a completion has no vector, or one with NaN or infinite values.
    """
    chosen, rejected = (vectors.rows(pairs[f"{side}_id"].to_list()) for side in ("chosen", "rejected"))
    train = (pairs["split"] == "train").to_numpy()  # held-out pairs have no say in what is learnt
    known = [side[train] for side in (chosen, rejected)]
    length = float(np.mean([np.linalg.norm(side, axis=1).mean() for side in known])) if train.any() else 1.0
    scale = np.float32(1 / length if length > 0 else 1)
    return Sides(chosen * scale, rejected * scale, pairs["p_chosen"].to_numpy().astype(np.float32))


@dataclass(frozen=True)
class Head:
    """r(e) = v . tanh(W e), with ``hidden`` W (h, d) and ``out`` v (h,)."""

    hidden: Floats
    out: Floats

    def margins(self, sides: Sides) -> Floats:
        """r(chosen) - r(rejected), (n,)."""
        found = (np.tanh(side @ self.hidden.T) @ self.out for side in (sides.chosen, sides.rejected))
        chosen, rejected = found
        return np.asarray(chosen - rejected, dtype=np.float32)

    def losses(self, sides: Sides) -> Floats:
        """-p log s(m) - (1 - p) log s(-m) of every pair, (n,), m its margin and s the logistic function."""
        blocks = [sides.rows(slice(start, start + ROWS)) for start in range(0, len(sides), ROWS)]
        losses = [np.logaddexp(0, -m) + (1 - b.p_chosen) * m for b in blocks for m in [self.margins(b)]]
        return np.concatenate(losses) if losses else np.empty(0, np.float32)

    def gradients(self, sides: Sides) -> Floats:
        """The gradient of every pair's loss by (W, v), flattened, (n, h · d + h)."""
        rest = sides.p_chosen - 1 / (1 + np.exp(-self.margins(sides)))
        by_hidden, by_out = 0.0, 0.0
        for sign, side in ((-1, sides.chosen), (1, sides.rejected)):
            active = np.tanh(side @ self.hidden.T)
            slope = sign * rest[:, None] * self.out * (1 - active**2)
            by_hidden = by_hidden + slope[:, :, None] * side[:, None, :]
            by_out = by_out + sign * rest[:, None] * active
        return np.concatenate([np.asarray(by_hidden).reshape(len(sides), -1), by_out], axis=1, dtype=np.float32)

    def mean_gradient(self, sides: Sides) -> Floats:
        """The mean of ``gradients``, (h · d + h,), without holding them."""
        rest = (sides.p_chosen - 1 / (1 + np.exp(-self.margins(sides)))) / len(sides)
        by_hidden, by_out = np.zeros_like(self.hidden), np.zeros_like(self.out)
        for sign, side in ((-1, sides.chosen), (1, sides.rejected)):
            active = np.tanh(side @ self.hidden.T)
            by_hidden += (sign * rest[:, None] * self.out * (1 - active**2)).T @ side
            by_out += (sign * rest) @ active
        return np.concatenate([by_hidden.ravel(), by_out])


class HeadTraining(Settings):
    """How a small reward head is trained: Adam on mini-batches, with one hidden layer of tanh units."""

    hidden: int = Field(default=16, ge=1, le=512)
    """Hidden units."""
    epochs: int = Field(default=5, ge=1, le=1000)
    """Passes over the `train` pairs."""
    batch: int = Field(default=64, ge=1)
    """Pairs a step."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Step size of Adam."""

    def steps(self, pairs: int) -> int:
        """Steps on so many pairs; the last batch of a pass is as large as the others, or left out."""
        return self.epochs * max(pairs // self.batch, 1)

    def run(self, ids: list[str], sides: Sides, seed: int) -> Iterator[Head]:
        """The head after every step on these pairs; in each pass they come in another order, drawn from ids and seed.

        Raises:
            ValueError: no pairs.
        """
        if not len(sides):
            raise ValueError("there are no train pairs to train a head on")
        rng = np.random.default_rng(seed)
        d = sides.chosen.shape[1]
        hidden = rng.normal(size=(self.hidden, d)).astype(np.float32)
        out = (rng.normal(size=self.hidden) / np.sqrt(self.hidden)).astype(np.float32)
        weights = np.concatenate([hidden.ravel(), out])
        first, second = np.zeros_like(weights), np.zeros_like(weights)
        per_pass = self.steps(len(sides)) // self.epochs
        for step in range(self.steps(len(sides))):
            place = step % per_pass
            if place == 0:
                order = seeded_hash(ids, seed, f"pass {step // per_pass}").arg_sort().to_numpy().astype(np.int64)
            rows = order[place * self.batch : (place + 1) * self.batch]
            gradient = _head(weights, self.hidden).mean_gradient(sides.rows(rows))
            first = _BETA1 * first + (1 - _BETA1) * gradient
            second = _BETA2 * second + (1 - _BETA2) * gradient**2
            mean, square = first / (1 - _BETA1 ** (step + 1)), second / (1 - _BETA2 ** (step + 1))
            weights = (weights - self.learning_rate * mean / (np.sqrt(square) + _EPSILON)).astype(np.float32)
            yield _head(weights, self.hidden)


def _head(weights: Floats, hidden: int) -> Head:
    return Head(weights[:-hidden].reshape(hidden, -1), weights[-hidden:])
