"""A Bradley-Terry reward head on embeddings, as an ensemble fitted out of fold."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from pref_assets.pool import Pool, Vectors, seeded_hash
from pref_assets.scoring.calibration import fit_temperature, reliability
from pref_assets.scoring.logistic import fit_heads
from pref_assets.settings import EmbeddingsName, Settings

HEADS_FILE, CONFIG_FILE = "heads.safetensors", "ensemble.json"


class BradleyTerry(Settings):
    """r(x, y) = w . e(x, y), P(chosen > rejected) = s(r(chosen) - r(rejected)) (Bradley & Terry, 1952).

    ``members`` x ``folds`` heads. A fold's heads never saw the pairs of its prompts, so that a flipped label cannot
    vouch for itself. Members differ by a bootstrap: each weighs prompts by independent Poisson(1) counts. (Wang et
    al., arXiv:2401.06080, train 10 networks in different data orders; a convex problem has one solution for all.)
    """

    type: Literal["bradley_terry"] = "bradley_terry"
    embeddings: EmbeddingsName
    """Embeddings of the completions, prompt included."""
    members: int = Field(default=10, ge=1, le=200)
    """Heads a fold; 10 in the paper."""
    folds: int = Field(default=5, ge=2, le=50)
    """Parts that the prompts are cut into."""
    l2: float = Field(default=1.0, gt=0)
    """Weight of |w|^2 / 2 against the summed loss; as 1/C in scikit-learn."""
    seed: int = Field(default=0, ge=0)
    """Seed of folds and bootstrap."""

    def fold_of(self, pairs: pl.DataFrame) -> NDArray[np.int64]:
        """The fold of each pair, by prompt: a hash, so it never changes when data is added."""
        return (seeded_hash(_groups(pairs), self.seed, "fold") % self.folds).to_numpy().astype(np.int64)

    def fit(self, pairs: pl.DataFrame, vectors: Vectors) -> "Ensemble":
        """Fits on the ``train`` pairs; p_chosen is a soft label, so a tie counts for both sides.

        Raises:
            ValueError: fewer than two prompts to fit on, or a completion without a finite vector.
        """
        train = pairs.filter(pl.col("split") == "train").sort("pair_id")
        fold = self.fold_of(train)
        if len(np.unique(fold)) < 2:
            raise ValueError(
                f"bradley_terry: the {len(train)} train pairs fall into {len(np.unique(fold))} of {self.folds} folds "
                "by prompt; cross-fitting needs pairs of at least two prompts, better of hundreds"
            )
        differences = margin_vectors(train, vectors)
        counts = self._bootstrap(train)
        weights = np.concatenate([counts * (fold != k)[:, None] for k in range(self.folds)], axis=1)
        p_chosen = train["p_chosen"].to_numpy().astype(np.float64)
        heads = fit_heads(differences, p_chosen, weights, self.l2)
        # safetensors writes the buffer as it lies in memory, transposed views included.
        heads = np.ascontiguousarray(heads.T).reshape(self.folds, self.members, -1)
        margins = np.einsum("nd,nmd->nm", differences, heads[fold]).mean(axis=1)
        temperature = fit_temperature(margins, p_chosen)
        metrics = {
            "train_pairs": float(len(train)),
            "train_prompts": float(_groups(train).n_unique()),
            "temperature": temperature,
            **reliability(margins, p_chosen, temperature),
        }
        return Ensemble(self, heads, temperature, metrics)

    def fit_all(self, pool: Pool) -> "Ensemble":
        """``fit`` with what a pool holds."""
        return self.fit(pool.pairs, pool.embeddings[self.embeddings])

    def _bootstrap(self, train: pl.DataFrame) -> NDArray[np.float64]:
        """(n, members) Poisson(1) counts, one draw for all pairs of a prompt."""
        groups = _groups(train)
        uniforms = [(seeded_hash(groups, self.seed, f"member {m}") / 2.0**64).to_numpy() for m in range(self.members)]
        steps = np.exp(-1) * np.cumsum([1.0, 1, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720])
        return np.searchsorted(steps, np.stack(uniforms, axis=1), side="right").astype(np.float64)


@dataclass(frozen=True)
class Ensemble:
    """Fitted heads: ``heads`` (folds, members, d), the calibration, and what was measured out of fold."""

    config: BradleyTerry
    heads: NDArray[np.float64]
    temperature: float
    metrics: dict[str, float]

    def rewards(self, ids: list[str], fold: NDArray[np.int64], vectors: Vectors) -> NDArray[np.float64]:
        """Rewards (n, members) of completions: by the heads of ``fold`` (n,), or the mean over folds where it is -1."""
        bank = np.concatenate([self.heads, self.heads.mean(axis=0, keepdims=True)])
        matrix = vectors.rows(ids).astype(np.float64)
        rewards = np.empty((len(ids), bank.shape[1]))
        for k in np.unique(fold):
            rows = fold == k
            rewards[rows] = matrix[rows] @ bank[k].T
        return rewards

    def fold_of(self, pairs: pl.DataFrame) -> NDArray[np.int64]:
        """The fold whose heads never saw the pair, (n,); -1, the mean of all folds, where the pair is not ``train``."""
        return np.where((pairs["split"] == "train").to_numpy(), self.config.fold_of(pairs), -1)

    def sides(self, pairs: pl.DataFrame, vectors: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rewards of the chosen and of the rejected completions, each (n, members), by the heads of ``fold_of``.

        Raises:
            ValueError: a completion has no finite vector, or vectors of another width than the heads'.
        """
        width = self.heads.shape[2]
        if vectors.matrix.shape[1] != width:
            raise ValueError(f"the ensemble reads vectors of width {width}, not {vectors.matrix.shape[1]}")
        ids = pairs["chosen_id"].to_list() + pairs["rejected_id"].to_list()
        rewards = self.rewards(ids, np.tile(self.fold_of(pairs), 2), vectors)
        return rewards[: len(pairs)], rewards[len(pairs) :]

    def save(self, folder: Path) -> None:
        """Writes ``heads.safetensors`` and ``ensemble.json`` (settings, temperature, metrics) into the folder."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file({"heads": np.ascontiguousarray(self.heads)}, str(folder / HEADS_FILE))
        text = {"config": self.config.model_dump(mode="json"), "temperature": self.temperature, "metrics": self.metrics}
        (folder / CONFIG_FILE).write_text(json.dumps(text, indent=1, sort_keys=True))

    @classmethod
    def load(cls, folder: Path) -> "Ensemble":
        """What ``save`` wrote. Raises ``FileNotFoundError`` when the folder holds no ensemble."""
        from safetensors.numpy import load_file

        text = json.loads((folder / CONFIG_FILE).read_text())
        heads = load_file(str(folder / HEADS_FILE))["heads"]
        return cls(BradleyTerry.model_validate(text["config"]), heads, text["temperature"], text["metrics"])


def ensemble_of(pool: Pool, name: str, reader: str) -> Ensemble:
    """The linear ensemble of that name, for a scorer ``reader`` that needs its weights.

    Raises:
        ValueError: the reward model is a head of another type.
    """
    found = pool.reward_models[name]
    if not isinstance(found, Ensemble):
        raise ValueError(
            f"{reader}: reward model {name!r} is a `{found.config.model_dump()['type']}` head, and {reader} needs the "
            "weights of a `bradley_terry` ensemble; name one of these, or score with `reward_head`"
        )
    return found


def margin_vectors(pairs: pl.DataFrame, vectors: Vectors) -> NDArray[np.float64]:
    """e(chosen) - e(rejected), (n, d) float64."""
    both = vectors.rows(pairs["chosen_id"].to_list() + pairs["rejected_id"].to_list()).astype(np.float64)
    return both[: len(pairs)] - both[len(pairs) :]


def _groups(pairs: pl.DataFrame) -> pl.Series:
    """The prompt of each pair; a pair across prompts stands for itself."""
    return pairs.select(pl.coalesce("prompt_id", "pair_id")).to_series()
