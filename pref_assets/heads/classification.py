"""Classification reward models: every response an example of its own, won or lost; the logit is the reward."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from pref_assets.heads.base import Arrays, Fitted, Floats, Head, Predictions, labels_of, prompt_of, side_vectors
from pref_assets.heads.network import Forward, Mlp, Network, fit_network
from pref_assets.heads.scalar import NetworkReward
from pref_assets.pool import Pool, seeded_uniform

if TYPE_CHECKING:
    import torch

TREES = "trees"


class ClassifierMlp(Head):
    """A network that tells responses that won from those that lost; its logit is the reward (Sun et al.,
    arXiv:2411.04991, section 4: a reward has only to keep the order).

    Each pair gives two examples, the chosen side with label p_chosen and the other with 1 - p_chosen, and the loss is
    their cross-entropy: no pair is looked at as one. Swapping the sides of a pair turns the margin's sign, but a margin
    is no log-odds before calibration. 5k pairs of width 384 take two seconds a head.
    """

    type: Literal["clf_mlp"] = "clf_mlp"
    network: Mlp = Mlp()
    """Layers and how they are fitted."""

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> Fitted:
        """Raises ``ValueError`` where there is no pair to learn from."""
        features, labels, prompts = examples(self, pool, pairs)

        def losses(forward: Forward, rows: "torch.Tensor") -> "torch.Tensor":
            import torch
            from torch.nn.functional import binary_cross_entropy_with_logits

            wanted = torch.from_numpy(labels.astype(np.float32))[rows]
            return binary_cross_entropy_with_logits(forward(rows)[:, 0], wanted, reduction="none")

        return NetworkReward(self.embeddings, fit_network(features, 1, losses, prompts, self.network, self.seed))

    def restore(self, arrays: Arrays) -> Fitted:
        """The head that ``Fitted.arrays`` came from."""
        return NetworkReward(self.embeddings, Network.restore(arrays))


class ClassifierTrees(Head):
    """Gradient-boosted trees that tell responses that won from those that lost; the logit is the reward (Sun et al.,
    arXiv:2411.04991, section 4, there with LightGBM as here).

    Examples and labels as in `clf_mlp`; soft labels by LightGBM's cross-entropy. Boosting stops when held-out prompts
    are no longer helped. Needs `lightgbm`. O(trees n d): 5k pairs of width 384 take seven seconds a head.
    """

    type: Literal["clf_gb"] = "clf_gb"
    trees: int = Field(default=200, ge=1, le=100_000)
    """Most rounds of boosting."""
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    """Shrinkage of each tree."""
    leaves: int = Field(default=15, ge=2, le=4096)
    """Leaves of a tree."""
    min_leaf: int = Field(default=20, ge=1)
    """Fewest examples in a leaf."""
    features: float = Field(default=0.3, gt=0, le=1)
    """Share of the embedding's coordinates that each tree may split on."""
    l2: float = Field(default=1.0, ge=0)
    """Penalty of a leaf's value."""
    patience: int = Field(default=20, ge=1)
    """Rounds without a better loss on the held-out prompts after which boosting stops."""
    held_out: float = Field(default=0.1, ge=0, le=0.5)
    """Share of the prompts that decide when to stop; with 0 all rounds are made."""

    def fit(self, pool: Pool, pairs: pl.DataFrame) -> Fitted:
        """Raises ``ValueError`` where there is no pair to learn from, ``ImportError`` without ``lightgbm``."""
        lightgbm = _lightgbm()
        features, labels, prompts = examples(self, pool, pairs)
        held = seeded_uniform(prompts, self.seed, "held out") < self.held_out
        if held.all():
            held[:] = False
        teaching = lightgbm.Dataset(features[~held], labels[~held], free_raw_data=False)
        watched = [lightgbm.Dataset(features[held], labels[held], reference=teaching)] if held.any() else []
        stop = [lightgbm.early_stopping(self.patience, verbose=False)] if watched else []
        booster = lightgbm.train(self._parameters(), teaching, self.trees, valid_sets=watched, callbacks=stop)
        rounds = booster.best_iteration if watched else None
        text = booster.model_to_string(num_iteration=rounds)
        return TreesReward(self.embeddings, features.shape[1], text, lightgbm.Booster(model_str=text))

    def _parameters(self) -> dict[str, Any]:
        return {
            "objective": "cross_entropy",
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_leaf,
            "feature_fraction": self.features,
            "lambda_l2": self.l2,
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }

    def restore(self, arrays: Arrays) -> Fitted:
        """The head that ``Fitted.arrays`` came from."""
        text = arrays[TREES].tobytes().decode()
        return TreesReward(self.embeddings, int(arrays["width"][0]), text, _lightgbm().Booster(model_str=text))


@dataclass(frozen=True)
class TreesReward:
    """r(x, y) is the logit of boosted trees; ``text`` is their model file."""

    embeddings: str
    width: int
    text: str
    booster: Any

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        sides = side_vectors(pool, self.embeddings, pairs, self.width)
        if pairs.is_empty():
            return Predictions(np.zeros(0), np.zeros(0), np.zeros(0))
        chosen, rejected = (self.booster.predict(side, raw_score=True, num_threads=1) for side in sides)
        return Predictions(chosen - rejected, chosen, rejected)

    def arrays(self) -> Arrays:
        return {TREES: np.frombuffer(self.text.encode(), np.uint8).copy(), "width": np.array([self.width])}


def examples(head: Head, pool: Pool, pairs: pl.DataFrame) -> tuple[Floats, Floats, pl.Series]:
    """Both sides of every pair as examples: vectors (2n, d), labels (2n,), and the prompt of each.

    Raises:
        ValueError: there is no pair, or a completion has no finite vector.
    """
    if pairs.is_empty():
        raise ValueError(f"{head.model_dump()['type']}: no pair to learn from")
    p = labels_of(pairs)
    prompts = prompt_of(pairs)
    sides = side_vectors(pool, head.embeddings, pairs)
    return np.concatenate(sides), np.concatenate([p, 1 - p]), pl.concat([prompts, prompts])


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise ImportError("clf_gb needs LightGBM: pip install lightgbm") from error
    return lightgbm
