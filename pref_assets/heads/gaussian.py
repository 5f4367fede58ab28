"""A reward that is a normal distribution in each of several dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.heads.base import Arrays, Floats, Head, Predictions, labels_of, prompt_of, side_vectors
from pref_assets.heads.network import Forward, Mlp, Network, fit_network
from pref_assets.heads.ratings import dimension_labels
from pref_assets.pool import Pool
from pref_assets.training.objectives.reward import (
    GaussianForm,
    Quadrature,
    gaussian_bradley_terry,
    normal_points,
)

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "sum"]
OVERALL = -1
"""The place of the pooled heads among the dimensions."""


class GaussianMulti(Head):
    """A normal reward N(mu_k, sigma_k^2) for each dimension; a pair's margin is normal with mean mu_c - mu_r and
    variance sigma_c^2 + sigma_r^2 (Wu et al., "EditReward", ICLR 2026, arXiv:2509.26346 [mem]).

    Overall labels teach the pooled heads, labels of a dimension its own head: votes in that dimension or, without
    any, the sign of the difference of the sides' mean ratings. With ``tie_decompose`` a pair that is a tie overall,
    with dimensions that prefer either side, becomes a pair of each of these in place of the tie. [choice] ``form`` is
    the paper's -log E s(z) by default; the authors' code minimises E[-log s(z)], which punishes spread everywhere, by
    1,000 draws. [choice] Draws are the same for all pairs and steps. ``score_*`` are pooled means,
    ``uncertainty`` is the root of the margin's variance. Details: ``p_better``, the expected s(z); ``sigma_*`` of
    either side; the margin of each dimension under its name. 5k pairs of width 384 take six seconds a head.
    """

    type: Literal["gaussian_multi"] = "gaussian_multi"
    dimensions: tuple[str, ...] = Field(
        default=("instruction_following", "honesty", "truthfulness", "helpfulness"), min_length=1
    )
    """Dimensions of votes or ratings, one head each; the default are the aspects of UltraFeedback."""
    learn: Literal["both", "overall", "dimensions"] = "both"
    """Whose labels teach: the pairs' own, those of the dimensions, or both."""
    tie_decompose: bool = True
    """Whether ties that the dimensions do not share are parted."""
    form: GaussianForm = "nll_exp"
    """`nll_exp`: minus the logarithm of the expected probability; `exp_nll`: the expectation of minus its logarithm."""
    quadrature: Quadrature = "gauss_hermite"
    """How expectations are taken: nodes of Gauss-Hermite, or draws."""
    points: int = Field(default=20, ge=1, le=10_000)
    """Nodes or draws; the authors' code has 1,000 draws."""
    pooling: Pooling = "mean"
    """`mean` of mu and of log sigma over dimensions, or `sum` of mu and of sigma^2."""
    largest_log_sigma: float = Field(default=5.0, gt=0, le=50)
    """log sigma stays within plus and minus this."""
    network: Mlp = Mlp()
    """Layers that all dimensions share, and how they are fitted."""

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "GaussianReward":
        """Raises ``ValueError`` where no pair has a label to learn from."""
        import torch

        table = taught(self, pool, pairs)
        chosen, rejected = side_vectors(pool, self.embeddings, pairs)
        points = normal_points(self.quadrature, self.points, self.seed)
        place, n = torch.from_numpy(table.place), len(pairs)
        dimension = torch.from_numpy(table.dimension)
        labels = torch.from_numpy(table.label.astype(np.float32))

        def losses(forward: Forward, rows: torch.Tensor) -> torch.Tensor:
            left, right = place[rows], place[rows] + n
            mu, log_sigma = self.parts(forward(torch.cat([left, right])))
            mean, variance = self._of_dimension(mu, log_sigma, dimension[rows].repeat(2))
            margin, spread = mean[: len(rows)] - mean[len(rows) :], variance[: len(rows)] + variance[len(rows) :]
            return gaussian_bradley_terry(margin, spread.sqrt(), labels[rows], self.form, points)

        features = np.concatenate([chosen, rejected])
        groups = prompt_of(pairs)[table.place]
        found = fit_network(features, 2 * len(self.dimensions), losses, groups, self.network, self.seed)
        shift = -found(features).mean(axis=0)
        shift[len(self.dimensions) :] = 0  # A margin says nothing of the mean, but of sigma.
        return GaussianReward(self, found.shifted(shift))

    def parts(self, outputs: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """mu and log sigma, (n, K) each, of outputs (n, 2K)."""
        mu, log_sigma = outputs.chunk(2, dim=1)
        return mu, log_sigma.clamp(-self.largest_log_sigma, self.largest_log_sigma)

    def _of_dimension(
        self, mu: "torch.Tensor", log_sigma: "torch.Tensor", dimension: "torch.Tensor"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Mean and variance of each row's dimension, or of the pooled heads where that is ``OVERALL``, (n,)."""
        import torch

        pooled_mean, pooled_variance = pooled(mu, log_sigma, self.pooling)
        own = dimension.clamp(min=0)[:, None]
        overall = dimension == OVERALL
        mean = torch.where(overall, pooled_mean, mu.gather(1, own)[:, 0])
        return mean, torch.where(overall, pooled_variance, (2 * log_sigma).exp().gather(1, own)[:, 0])

    def restore(self, arrays: Arrays) -> "GaussianReward":
        """The head that ``GaussianReward.arrays`` came from."""
        return GaussianReward(self, Network.restore(arrays))


def pooled(mu: "torch.Tensor", log_sigma: "torch.Tensor", pooling: Pooling) -> "tuple[torch.Tensor, torch.Tensor]":
    """Mean and variance over dimensions, (n,) each, of mu and log sigma (n, K)."""
    if pooling == "mean":
        return mu.mean(1), (2 * log_sigma.mean(1)).exp()
    return mu.sum(1), (2 * log_sigma).exp().sum(1)


@dataclass(frozen=True)
class GaussianReward:
    """The outputs of the network are mu and log sigma of each dimension."""

    config: GaussianMulti
    network: Network

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        import torch

        config, found = self.config, []
        for side in side_vectors(pool, config.embeddings, pairs):
            mu, log_sigma = config.parts(torch.from_numpy(self.network(side)))
            found.append((mu, *pooled(mu, log_sigma, config.pooling)))
        (mu_c, mean_c, variance_c), (mu_r, mean_r, variance_r) = found
        margin, spread = mean_c - mean_r, (variance_c + variance_r).sqrt()
        points = normal_points(config.quadrature, config.points, config.seed)
        p_better = (-gaussian_bradley_terry(margin, spread, 1.0, "nll_exp", points)).exp()
        each = {name: (mu_c - mu_r)[:, k] for k, name in enumerate(config.dimensions)}
        sigmas = {"sigma_chosen": variance_c.sqrt(), "sigma_rejected": variance_r.sqrt()}
        details = {"p_better": p_better, **sigmas, **each}
        return Predictions(
            margin.numpy(),
            mean_c.numpy(),
            mean_r.numpy(),
            spread.numpy(),
            {name: value.numpy() for name, value in details.items()},
        )

    def arrays(self) -> Arrays:
        return self.network.arrays()


@dataclass(frozen=True)
class Taught:
    """Comparisons to learn from, (m,) each: the place of the pair, the dimension (or ``OVERALL``), and the label."""

    place: NDArray[np.int64]
    dimension: NDArray[np.int64]
    label: Floats


def taught(settings: GaussianMulti, pool: Pool, pairs: pl.DataFrame) -> Taught:
    """What the pairs teach. Raises ``ValueError`` where that is nothing, or nobody judged one of the dimensions."""
    by_dimension, overall = dimension_labels(pool, pairs, settings.dimensions), labels_of(pairs)
    unjudged = [name for k, name in enumerate(settings.dimensions) if np.isnan(by_dimension[:, k]).all()]
    if unjudged and settings.learn != "overall":
        raise ValueError(
            f"gaussian_multi: no vote and no ratings of both sides say anything of {', '.join(map(repr, unjudged))} "
            f"in {len(pairs)} pairs; leave these dimensions out, or learn the `overall` labels alone"
        )
    parted = tie_decompose(np.where(overall[:, None] == 0.5, by_dimension - 0.5, np.nan))
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]] = []
    if settings.learn != "dimensions":
        whole = np.arange(len(pairs))
        if settings.tie_decompose:
            whole = np.setdiff1d(whole, parted.place)
        parts.append((whole, np.full(len(whole), OVERALL), overall[whole]))
    if settings.learn != "overall":
        place, dimension = np.nonzero(np.isfinite(by_dimension))
        parts.append((place, dimension, by_dimension[place, dimension]))
    elif settings.tie_decompose:
        parts.append((parted.place, parted.dimension, parted.label))
    place, dimension, label = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(place):
        raise ValueError(f"gaussian_multi: none of {len(pairs)} pairs has a label to learn from")
    return Taught(place, dimension, label)


def tie_decompose(differences: "Floats | Sequence[Sequence[float]]") -> Taught:
    """Comparisons by dimension that take the place of ties.

    Args:
        differences: (n, K) by how much each dimension prefers the chosen side; NaN where nobody said.

    Returns:
        One comparison, with label 1 or 0, for each dimension that is no tie itself, of the rows whose dimensions prefer
        either side; nothing of rows that all agree.
    """
    signs = np.sign(np.nan_to_num(np.asarray(differences, np.float64)))
    opposed = np.logical_and((signs > 0).any(axis=1), (signs < 0).any(axis=1))
    place, dimension = np.nonzero(np.logical_and(signs != 0, opposed[:, None]))
    return Taught(place, dimension, (signs[place, dimension] + 1) / 2)
