"""Heads that learn what raters say of a completion: several attributes, or a start for Bradley-Terry."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.heads.base import Arrays, Floats, Head, Predictions, side_vectors
from pref_assets.heads.network import Forward, Mlp, Network, fit_network
from pref_assets.heads.ratings import Rated, rated_completions
from pref_assets.pool import Pool

if TYPE_CHECKING:
    import torch

STEERLM = {"helpfulness": 0.65, "correctness": 0.8, "coherence": 0.45, "complexity": 0.55, "verbosity": -0.4}


class RegressionMulti(Head):
    """One output for each attribute that raters judge, fitted by squared error; the reward is their weighted sum
    (Wang et al., "HelpSteer2", arXiv:2406.08673, section 3.1).

    Targets are mean ratings; an attribute that nobody rated of a completion is left out of its loss. ``weights`` say
    how good an attribute is; the default is told of Llama3-70B-SteerLM-RM in its model card ([mem], not in the paper).
    Needs ratings of the completions; labels of pairs are not looked at. Details: every attribute of either side. Linear
    heads are solved exactly: O(n d^2 + d^3) an attribute.
    """

    type: Literal["regression_multi"] = "regression_multi"
    weights: dict[str, float] = Field(default=STEERLM, min_length=1)
    """Goodness of each attribute, by the dimension of the ratings; these attributes are learned, and no others."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |w|^2 / 2 against half the summed squares, of linear heads."""
    network: Mlp | None = None
    """Layers of a network that all attributes share; a linear head for each where left out."""

    @model_validator(mode="after")
    def _weights_weigh(self) -> Self:
        if not all(np.isfinite(weight) for weight in self.weights.values()) or not any(self.weights.values()):
            raise ValueError("the weights are finite, and one at least is not 0")
        return self

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "AttributeReward":
        """Raises ``ValueError`` where nobody rated one of the attributes."""
        rated = rated_completions(pool, pairs, list(self.weights))
        features = pool.embeddings[self.embeddings].rows(rated.ids).astype(np.float64)
        if self.network is None:
            columns = [ridge(features, rated.values[:, k], self.l2) for k in range(rated.values.shape[1])]
            solved = np.stack(columns, axis=1)
            width = len(solved) - 1
            return AttributeReward(self, Network(np.zeros(width), np.ones(width), (solved[:-1],), (solved[-1],)))
        return AttributeReward(self, _network(features, rated, self.network, self.seed))

    def restore(self, arrays: Arrays) -> "AttributeReward":
        """The head that ``AttributeReward.arrays`` came from."""
        return AttributeReward(self, Network.restore(arrays))


@dataclass(frozen=True)
class AttributeReward:
    """r(x, y) = weights . attributes(x, y); the network has one output an attribute, in the raters' unit."""

    config: RegressionMulti
    network: Network

    def attributes(self, pool: Pool, pairs: pl.DataFrame) -> tuple[Floats, Floats]:
        """Attributes of the chosen and of the rejected completions, each (n, K)."""
        chosen, rejected = (self.network(side) for side in side_vectors(pool, self.config.embeddings, pairs))
        return chosen, rejected

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        chosen, rejected = self.attributes(pool, pairs)
        good, poor = (goodness(side, self.config.weights) for side in (chosen, rejected))
        details = {
            f"{name}_{side}": values[:, k]
            for k, name in enumerate(self.config.weights)
            for side, values in (("chosen", chosen), ("rejected", rejected))
        }
        return Predictions(good - poor, good, poor, details=details)

    def arrays(self) -> Arrays:
        return self.network.arrays()


def goodness(attributes: Floats, weights: dict[str, float]) -> Floats:
    """weights . attributes of rows (n, K), (n,)."""
    result: Floats = attributes @ np.array(list(weights.values()))
    return result


def ridge(features: Floats, targets: Floats, l2: float) -> Floats:
    """Weights and, last, the intercept, (d + 1,), that minimise half the summed squares + l2/2 |w|^2; rows whose target
    is NaN are left out. Raises ``ValueError`` where none is left."""
    known = np.isfinite(targets)
    if not known.any():
        raise ValueError("no target to learn from")
    x, y = features[known], targets[known]
    mean = x.mean(axis=0)
    gram = (x - mean).T @ (x - mean)
    gram[np.diag_indices_from(gram)] += l2
    weights = np.linalg.solve(gram, (x - mean).T @ (y - y.mean()))
    return np.append(weights, y.mean() - mean @ weights)


def _network(features: Floats, rated: Rated, settings: Mlp, seed: int) -> Network:
    """A network of standardised targets, put back into the raters' unit."""
    centre, unit = np.nanmean(rated.values, axis=0), np.nanstd(rated.values, axis=0)
    unit = np.where(unit > 0, unit, 1.0)
    scaled = ((rated.values - centre) / unit).astype(np.float32)

    def losses(forward: Forward, rows: "torch.Tensor") -> "torch.Tensor":
        import torch

        wanted = torch.from_numpy(scaled)[rows]
        return masked_squares(forward(rows), wanted)

    found = fit_network(features, scaled.shape[1], losses, rated.prompts, settings, seed)
    matrices, biases = (*found.matrices[:-1], found.matrices[-1] * unit), (*found.biases[:-1], found.biases[-1] * unit)
    return Network(found.mean, found.spread, matrices, biases).shifted(centre)


def masked_squares(predicted: "torch.Tensor", wanted: "torch.Tensor") -> "torch.Tensor":
    """Half the summed squares over the attributes of each row whose target is not NaN, (n,)."""
    import torch

    known = torch.isfinite(wanted)
    errors = torch.where(known, predicted - torch.nan_to_num(wanted), 0.0)
    return 0.5 * errors.square().sum(1)
