"""Several rewards summed with weights that depend on the prompt."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.heads.base import Arrays, Floats, Head, Predictions, side_vectors
from pref_assets.heads.side_values import rated_sides, scored_sides
from pref_assets.heads.simplex import entropy, fit_adapter, softmax, target_weights, z_scale
from pref_assets.pool import Pool
from pref_assets.settings import EmbeddingsName, ScoresName


class Orchestrated(Head):
    """Preference orchestration (arXiv:2511.10656): r(x, y) = sum_k f_k(x) r_k(x, y), where f learns from the preferred
    responses which of K rewards the prompt calls for.

    The targets are w*(x) = softmax(r(x, y+) / T) of the preferred response, f is fitted by KL(w* || f). The K rewards
    are score tables with scores of both sides, or rated dimensions of the completions, which stand for reward models.
    [choice] f is softmax(A h + b) on the mean h of the pair's two vectors, each of which reads the prompt, in place of
    a fine-tuned encoder. Rewards are z-scored over the completions of the training pairs: without that (``z_score``
    false) the reward that runs highest gets the weight. Known of the method: it follows how high the preferred response
    scores, not how the two differ, so that a harmful prompt, whose safest answer is still not very safe, gets a low
    weight of safety (`test_harmful_prompts_get_a_low_weight_of_safety`). Details: ``w_<reward>``, ``weight_entropy``.

    Needs K rewards; embeddings for ``weights`` `adapter`. O(n d K), a second for 10k pairs.
    """

    type: Literal["orchestrated"] = "orchestrated"
    embeddings: EmbeddingsName | None = None  # type: ignore[assignment]
    """Embeddings of the completions, prompt included; only the adapter reads them."""
    scores: tuple[ScoresName, ...] = ()
    """Score tables whose `score_chosen` and `score_rejected` are the rewards."""
    dimensions: tuple[str, ...] = ()
    """Rated dimensions of the completions, each the mean over its raters, in place of `scores`."""
    weights: Literal["adapter", "uniform", "fixed", "oracle"] = "adapter"
    """What weighs the rewards: f; 1/K each; `fixed_weights`; or, as a bound, w* of the very pair, label and all."""
    fixed_weights: tuple[float, ...] = ()
    """Weights of `fixed`, in the order of the rewards; they sum to 1."""
    temperature: float = Field(default=1.0, gt=0)
    """T of the targets; large ones make them equal."""
    z_score: bool = True
    """Whether every reward is brought to mean 0 and spread 1 over the training completions."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |A|^2 / 2 against the summed divergence."""
    max_steps: int = Field(default=1000, ge=1, le=100_000)
    """Most steps of L-BFGS."""

    @model_validator(mode="after")
    def _sources(self) -> Self:
        if bool(self.scores) == bool(self.dimensions):
            raise ValueError("name the rewards by `scores` or by `dimensions`, one of the two")
        names = self.names()
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"name two or more different rewards, not {list(names)}")
        if (self.weights == "adapter") != (self.embeddings is not None):
            raise ValueError("`embeddings` are what weights `adapter` read, and no others")
        if (self.weights == "fixed") != bool(self.fixed_weights):
            raise ValueError("`fixed_weights` are the weights of `fixed`, and of no other")
        if self.fixed_weights:
            if len(self.fixed_weights) != len(names):
                raise ValueError(f"{len(self.fixed_weights)} fixed_weights for {len(names)} rewards")
            if min(self.fixed_weights) < 0 or abs(sum(self.fixed_weights) - 1) > 1e-6:
                raise ValueError("fixed_weights are not negative and sum to 1")
        return self

    def names(self) -> tuple[str, ...]:
        """The rewards, in order."""
        return self.scores or self.dimensions

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> "FittedOrchestrated":
        """Fits f; a tie counts with both sides' targets.

        Raises:
            ValueError: a pair lacks a reward or a vector, or there is no pair.
        """
        if pairs.is_empty():
            raise ValueError("orchestrated: no pair to learn from")
        chosen, rejected = side_rewards(self, pool, pairs)
        mean, spread = z_scale(np.concatenate([chosen, rejected]))
        if not self.z_score:
            mean, spread = np.zeros_like(mean), np.ones_like(spread)
        if self.weights != "adapter":
            return FittedOrchestrated(self, mean, spread)
        p = pairs["p_chosen"].to_numpy().astype(np.float64)[:, None]
        targets = p * target_weights((chosen - mean) / spread, self.temperature)
        targets += (1 - p) * target_weights((rejected - mean) / spread, self.temperature)
        states = prompt_states(self, pool, pairs)
        center = states.mean(axis=0)
        matrix, bias = fit_adapter(states - center, targets, self.l2, self.max_steps)
        return FittedOrchestrated(self, mean, spread, matrix, bias, center)

    def restore(self, arrays: Arrays) -> "FittedOrchestrated":
        """The head that ``FittedOrchestrated.arrays`` came from."""
        adapter = (arrays.get(name) for name in ("map", "bias", "center"))
        return FittedOrchestrated(self, arrays["mean"], arrays["spread"], *adapter)


@dataclass(frozen=True)
class FittedOrchestrated:
    """A fitted head: ``mean`` and ``spread`` (K,) of the rewards, and of the adapter ``map`` (K, d), ``bias`` (K,) and
    the mean ``center`` (d,) of the prompts' states."""

    config: Orchestrated
    mean: Floats
    spread: Floats
    map: Floats | None = None
    bias: Floats | None = None
    center: Floats | None = None

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        """Weighted rewards. Raises ``ValueError`` where a pair lacks a reward, or as ``Fitted.predict``."""
        sides = side_rewards(self.config, pool, pairs)
        chosen, rejected = ((side - self.mean) / self.spread for side in sides)
        weights = self.prompt_weights(pool, pairs, chosen, rejected)
        good, poor = (weights * chosen).sum(axis=1), (weights * rejected).sum(axis=1)
        named = {f"w_{name}": weights[:, place] for place, name in enumerate(self.config.names())}
        return Predictions(good - poor, good, poor, details={**named, "weight_entropy": entropy(weights)})

    def prompt_weights(self, pool: Pool, pairs: pl.DataFrame, chosen: Floats, rejected: Floats) -> Floats:
        """Weights (n, K) of the pairs, whose z-scored rewards are ``chosen`` and ``rejected`` (n, K)."""
        kinds = len(self.mean)
        if self.config.weights == "oracle":
            preferred = np.where((pairs["p_chosen"].to_numpy() >= 0.5)[:, None], chosen, rejected)
            return target_weights(preferred, self.config.temperature)
        if self.map is None or self.bias is None or self.center is None:
            row = np.asarray(self.config.fixed_weights) if self.config.fixed_weights else np.full(kinds, 1 / kinds)
            return np.tile(row, (len(pairs), 1))
        states = prompt_states(self.config, pool, pairs, len(self.center)) - self.center
        return softmax(states @ self.map.T + self.bias)

    def arrays(self) -> Arrays:
        """The fields that are there."""
        found = {"mean": self.mean, "spread": self.spread, "map": self.map, "bias": self.bias, "center": self.center}
        return {name: each for name, each in found.items() if each is not None}


def prompt_states(head: Orchestrated, pool: Pool, pairs: pl.DataFrame, width: int | None = None) -> Floats:
    """Mean of both sides' vectors, (n, d)."""
    assert head.embeddings is not None
    chosen, rejected = side_vectors(pool, head.embeddings, pairs, width)
    result: Floats = 0.5 * (chosen + rejected)
    return result


def side_rewards(head: Orchestrated, pool: Pool, pairs: pl.DataFrame) -> tuple[Floats, Floats]:
    """Rewards of the chosen and of the rejected side, (n, K) each. Raises ``ValueError`` where a pair lacks one."""
    read = scored_sides if head.scores else rated_sides
    sides = [read(pool, pairs, name) for name in head.names()]
    return np.stack([chosen for chosen, _ in sides], axis=1), np.stack([rejected for _, rejected in sides], axis=1)
