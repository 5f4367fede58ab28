"""A reward head without a reward: responses as vectors whose preferences may go in circles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pref_assets.heads.base import Arrays, Floats, Head, Predictions, labels_of, side_vectors
from pref_assets.heads.minimise import Tensors, minimise, soft_logistic
from pref_assets.heads.skew import skew_matrix, skew_scores
from pref_assets.pool import Pool

if TYPE_CHECKING:
    import torch


class Gpm(Head):
    """General preference embeddings (Zhang et al., arXiv:2410.02197): P(i > j | x) = s(<R D(x) v_i, D(x) v_j> / tau),
    R of 2 x 2 rotations by 90 degrees, so that preferences may be cyclic.

    v = (b + W (e - mean)) / |b + W (e - mean)| with fixed b = (0, 1, 0, 1, ...) / sqrt(k) in place of the paper's free
    map of the last token's state. [choice] ``l2`` then shrinks W, and with it all scores, to zero; a free map that is
    normalised has nothing to shrink. With one block, no unit length and ``second`` frozen it is Bradley-Terry, exactly.
    The gate is k softmax(G h / sqrt(d)), as in the authors' code; [choice] h, the prompt's state there, is the mean of
    the pair's two vectors, each of which reads the prompt, less the mean of all. There is no reward of one response, so
    ``score_chosen`` and ``score_rejected`` are null. Details: ``largest_block``, the share of the margin's absolute
    parts that its largest block has.

    Needs embeddings. O(max_steps n d dim): 10k pairs of width 384 take some ten seconds a head.
    """

    type: Literal["gpm"] = "gpm"
    dim: int = Field(default=6, ge=2, le=128)
    """Width 2k of the vectors, even; 2, 4, 6 and 8 in the paper."""
    tau: float = Field(default=0.1, gt=0)
    """Temperature; 0.1 in the released runs."""
    gate: bool = True
    """Whether the prompt weighs the blocks."""
    unit_length: bool = True
    """Whether the vectors are scaled to length 1."""
    second: Literal["learned", "frozen"] = "learned"
    """Whether the second coordinate of every block is learned, or stays what b says; with one block `frozen` is a
    reward model."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |W / tau|^2 / 2 (and |G|^2 / 2) against the summed loss."""
    start: float = Field(default=1.0, gt=0)
    """Length of a row of W (e - mean) before fitting, b being of length 1. Where the preferences are a circle, no
    preference at all is a local minimum, at which small starts end."""
    max_steps: int = Field(default=200, ge=1, le=100_000)
    """Most steps of L-BFGS."""

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.dim % 2:
            raise ValueError(f"dim is {self.dim}, but blocks have two dimensions each; take an even number")
        return self

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "FittedGpm":
        """Fits W and the gate. Raises ``ValueError`` when a completion has no finite vector, or there is no pair."""
        import torch

        if pairs.is_empty():
            raise ValueError("gpm: no pair to learn from")
        chosen, rejected = side_vectors(pool, self.embeddings, pairs)
        mean = 0.5 * (chosen + rejected).mean(axis=0)
        good, poor, label = (torch.from_numpy(each) for each in (chosen - mean, rejected - mean, labels_of(pairs)))
        width, blocks = chosen.shape[1], self.dim // 2

        def loss(at: Tensors) -> "torch.Tensor":
            margins = self._margins(at, good, poor)
            fit = soft_logistic(margins, label).sum()
            size = (at["map"] ** 2).sum() / self.tau**2
            if self.gate:
                size = size + (at["gate"] ** 2).sum()
            return (fit + 0.5 * self.l2 * size) / len(label)

        spread = np.sqrt((good.square().sum() + poor.square().sum()).item() / (2 * len(label))) or 1.0
        draw = np.random.default_rng([self.seed, width, self.dim])
        first = draw.normal(scale=self.start / spread, size=(self.dim, width))
        if self.second == "frozen":
            first[1::2] = 0
        start = {"map": first}
        if self.gate:
            start["gate"] = np.zeros((blocks, width))
        fixed = None
        if self.second == "frozen":
            fixed = np.where(np.arange(self.dim)[:, None] % 2 == 1, 0.0, np.inf) * np.ones((1, width))
        found = minimise(
            loss,
            start,
            self.max_steps,
            at_least=None if fixed is None else {"map": -fixed},
            at_most=None if fixed is None else {"map": fixed},
        )
        return FittedGpm(self, mean, found.arrays["map"], found.arrays.get("gate"))

    def restore(self, arrays: Arrays) -> "FittedGpm":
        """The head that ``FittedGpm.arrays`` came from."""
        return FittedGpm(self, arrays["mean"], arrays["map"], arrays.get("gate"))

    def _margins(self, at: Tensors, good: "torch.Tensor", poor: "torch.Tensor") -> "torch.Tensor":
        """s / tau of centred vectors (n, d), differentiable, (n,)."""
        import torch

        left, right = (self._vectors(at["map"], each) for each in (good, poor))
        blocks = left[:, 0::2] * right[:, 1::2] - left[:, 1::2] * right[:, 0::2]
        if self.gate:
            state = 0.5 * (good + poor) @ at["gate"].T / good.shape[1] ** 0.5
            blocks = blocks * torch.softmax(state, dim=1) * blocks.shape[1]
        return blocks.sum(1) / self.tau

    def _vectors(self, matrix: "torch.Tensor", centred: "torch.Tensor") -> "torch.Tensor":
        import torch

        base = torch.zeros(self.dim, dtype=matrix.dtype)
        base[1::2] = (2 / self.dim) ** 0.5
        found = base + centred @ matrix.T
        return found / found.norm(dim=1, keepdim=True) if self.unit_length else found


@dataclass(frozen=True)
class FittedGpm:
    """A fitted head: the ``mean`` (d,) of the vectors, the ``map`` W (2k, d), and the gate's G (k, d)."""

    config: Gpm
    mean: Floats
    map: Floats
    gate: Floats | None

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        """Margins s / tau, in log-odds. Raises ``ValueError`` as ``Fitted.predict``."""
        chosen, rejected = (
            each - self.mean for each in side_vectors(pool, self.config.embeddings, pairs, len(self.mean))
        )
        left, right = self.embed(chosen), self.embed(rejected)
        gate = self.gates(0.5 * (chosen + rejected))
        blocks = gate * (left[:, 0::2] * right[:, 1::2] - left[:, 1::2] * right[:, 0::2])
        sizes = np.abs(blocks)
        total = sizes.sum(axis=1)
        largest = np.divide(sizes.max(axis=1), total, out=np.full(len(total), 1 / blocks.shape[1]), where=total > 0)
        margin = skew_scores(left, right, gate) / self.config.tau
        return Predictions(margin, details={"largest_block": largest})

    def arrays(self) -> Mapping[str, NDArray]:
        """``mean``, ``map`` and, where there is one, ``gate``."""
        return {"mean": self.mean, "map": self.map} | ({} if self.gate is None else {"gate": self.gate})

    def embed(self, centred: Floats) -> Floats:
        """The vectors v (n, 2k) of completions whose embeddings less the mean are ``centred`` (n, d)."""
        base = np.tile([0.0, np.sqrt(2 / self.config.dim)], self.config.dim // 2)
        found: Floats = base + centred @ self.map.T
        return found / np.linalg.norm(found, axis=1, keepdims=True) if self.config.unit_length else found

    def gates(self, states: Floats) -> Floats:
        """Weights of the blocks (n, k), summing to k, for prompt states (n, d); ones without a gate."""
        if self.gate is None:
            return np.ones((len(states), self.config.dim // 2))
        raw = states @ self.gate.T / np.sqrt(states.shape[1])
        exponent = np.exp(raw - raw.max(axis=1, keepdims=True))
        result: Floats = exponent / exponent.sum(axis=1, keepdims=True) * raw.shape[1]
        return result

    def preferences(self, pool: Pool, completions: list[str]) -> Floats:
        """Scores s(i > j) / tau among the responses to one prompt, (m, m): what `cyclic_share`, `curl_share` and GPO's
        `mean_scores` read. The gate's prompt state is the mean over all of them. O(m^2 k)."""
        vectors = pool.embeddings[self.config.embeddings].rows(completions).astype(np.float64) - self.mean
        gate = self.gates(vectors.mean(axis=0, keepdims=True))[0]
        result: Floats = skew_matrix(self.embed(vectors), gate) / self.config.tau
        return result
