"""A reward with its distribution: quantiles of what raters say of a completion."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from pref_assets.pool import Pool, Vectors, seeded_hash
from pref_assets.scoring.base import RankBy, Scorer, pair_scores, ranked_by
from pref_assets.scoring.gradients.heads import Floats
from pref_assets.scoring.gradients.pinball import fit_quantiles
from pref_assets.settings import EmbeddingsName

_LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))


class QuantileReward(Scorer):
    """QRM: Dorka, "Quantile Regression for Distributional Reward Models in RLHF" (arXiv:2409.10164): a linear head for
    each quantile on fixed embeddings, fitted with the pinball loss; the reward is the mean of the quantiles.

    ``score_chosen`` and ``score_rejected`` are those means, ``score`` what ``by`` makes of them. Details, for both
    sides: ``iqr_*`` = q75 - q25 (how unsure), ``cvar_10_*`` (10 for the ``tail``) = the mean of the quantiles up to
    the tail level (how bad it may be), and their margin ``cvar_10``; ``p_win``, the probability that a draw of the
    chosen side beats one of the rejected, were they independent (ties half). Quantiles that cross are sorted
    (Chernozhukov et al., arXiv:0704.3649, section 2). Targets are the ratings of the completions of train pairs, every
    rating a target of its own, so that raters who differ widen the distribution; or, where there are none, ``labels``:
    p_chosen for the chosen side, 1 - p_chosen for the other. Heads are cross-fitted by prompt: a train pair is scored
    by those that never saw its prompt, others by the mean of all folds. [choice] One dimension and no gate in place of
    the paper's gating over attributes. O(steps · n · d · levels · folds): 20k targets of width 384 take half a minute.
    """

    type: Literal["quantile_reward"] = "quantile_reward"
    embeddings: EmbeddingsName
    """Embeddings of the completions, prompt included."""
    target: Literal["ratings", "labels"] = "ratings"
    """What the heads learn to predict."""
    dimension: str | None = Field(default=None)
    """Dimension of the ratings to learn; all ratings if left out."""
    by: RankBy = "margin"
    """What to rank by: the margin between the two rewards, either reward, or their mean."""
    levels: tuple[float, ...] = Field(default=_LEVELS, min_length=1)
    """Quantile levels, rising in (0, 1); .05 to .95 in the paper."""
    tail: float = Field(default=0.1, gt=0, lt=1)
    """Largest level that counts as the lower tail."""
    folds: int = Field(default=5, ge=2, le=50)
    """Parts that the prompts are cut into."""
    l2: float = Field(default=1e-3, gt=0)
    """Weight of |w|^2 / 2 against the mean loss, targets scaled to unit spread."""
    smoothing: float = Field(default=0.05, gt=0, le=1)
    """Width over which the kink of the loss is smoothed, in spreads of the targets."""
    seed: int = Field(default=0, ge=0)
    """Seed of the folds."""

    @model_validator(mode="after")
    def _levels_rise(self) -> Self:
        if list(self.levels) != sorted(set(self.levels)) or not 0 < self.levels[0] <= self.levels[-1] < 1:
            raise ValueError("levels rise strictly and lie between 0 and 1")
        if self.levels[0] > self.tail:
            raise ValueError(f"no level lies in the tail up to {self.tail:g}; the lowest is {self.levels[0]:g}")
        return self

    def score(self, pool: Pool) -> pl.DataFrame:
        """``PAIR_SCORES``; no number is null.

        Raises:
            ValueError: no target, targets of a single fold of prompts, or a completion without a finite vector.
        """
        pairs = pool.pairs.sort("pair_id")
        chosen, rejected = self.quantiles(pool, pairs)
        levels = np.asarray(self.levels)
        cvar = f"cvar_{100 * self.tail:g}"
        columns = {"p_win": p_win(chosen, rejected)}
        for side, found in (("chosen", chosen), ("rejected", rejected)):
            columns[f"score_{side}"] = found.mean(axis=1)
            columns[f"iqr_{side}"] = at_level(found, levels, 0.75) - at_level(found, levels, 0.25)
            columns[f"{cvar}_{side}"] = found[:, levels <= self.tail].mean(axis=1)
        columns[cvar] = columns[f"{cvar}_chosen"] - columns[f"{cvar}_rejected"]
        details = [name for name in columns if not name.startswith("score")]
        frame = pairs.select("pair_id").with_columns(**{name: pl.Series(each) for name, each in columns.items()})
        score = ranked_by(self.by, pl.col("score_chosen"), pl.col("score_rejected"))
        return pair_scores(frame.with_columns(score=score), details=details)

    def quantiles(self, pool: Pool, pairs: pl.DataFrame) -> tuple[Floats, Floats]:
        """Quantiles of the chosen and of the rejected completions, each (n, levels), rising along a row."""
        vectors = pool.embeddings[self.embeddings]
        targets = self._rated(pool) if self.target == "ratings" else self._labelled(pool)
        heads = self._fit(targets, vectors)
        train = (pairs["split"] == "train").to_numpy()
        chosen, rejected = (
            _predict(
                heads,
                vectors.rows(pairs[side].to_list()).astype(np.float64),
                np.where(train, self._fold_of(self._held_with(pool, pairs, side)), -1),
            )
            for side in ("chosen_id", "rejected_id")
        )
        return chosen, rejected

    def _held_with(self, pool: Pool, pairs: pl.DataFrame, side: str) -> pl.Series:
        """What a completion is held out together with: of ratings its prompt; of labels the pair's, or the pair where
        it has none, as the label tells of both sides."""
        if self.target == "labels":
            return pairs.select(pl.coalesce("prompt_id", "pair_id")).to_series()
        own = pool.completions.select(pl.col("completion_id").alias(side), prompt="prompt_id")
        found = pairs.join(own, on=side, how="left", validate="m:1", maintain_order="left")["prompt"]
        if found.null_count():
            absent = pairs.filter(found.is_null())[side].sort()
            raise ValueError(f"{len(absent)} completions of pairs have no row, e.g. {absent.head(3).to_list()}")
        return found

    def _fit(self, targets: "_Targets", vectors: Vectors) -> Floats:
        """(folds, levels, d + 1): the heads of a fold saw no target of its prompts."""
        fold = self._fold_of(targets.prompts)
        held = np.bincount(fold, minlength=self.folds)
        if len(fold) == held.max():
            raise ValueError(
                f"quantile_reward: the {len(fold)} targets fall into one of {self.folds} folds by prompt; "
                "cross-fitting needs targets of at least two prompts, better of hundreds"
            )
        weights = (fold[:, None] != np.arange(self.folds)).astype(np.float64)
        features = vectors.rows(targets.ids).astype(np.float64)
        return fit_quantiles(features, targets.values, weights, np.asarray(self.levels), self.l2, self.smoothing)

    def _fold_of(self, prompts: pl.Series) -> np.ndarray:
        return (seeded_hash(prompts, self.seed, "quantile fold") % self.folds).to_numpy().astype(np.int64)

    def _rated(self, pool: Pool) -> "_Targets":
        train = pool.candidates()
        ids = pl.concat([train.select(completion_id=side) for side in ("chosen_id", "rejected_id")]).unique()
        rated = (
            pool.completions.select("completion_id", prompt="prompt_id", ratings="ratings")
            .explode("ratings")
            .unnest("ratings")
        )
        if self.dimension is not None:
            rated = rated.filter(pl.col("dimension") == self.dimension)
        rated = rated.filter(pl.col("value").is_finite())
        found = rated.join(ids, on="completion_id", how="semi").sort("completion_id", "dimension", "annotator", "value")
        if found.is_empty():
            wanted = "ratings" if self.dimension is None else f"ratings of dimension {self.dimension!r}"
            raise ValueError(
                f"quantile_reward: none of the {len(ids)} completions of train pairs has {wanted}; "
                "name another `dimension`, or learn from the `labels`"
            )
        return _Targets(found["completion_id"].to_list(), found["prompt"], found["value"].to_numpy().astype(np.float64))

    def _labelled(self, pool: Pool) -> "_Targets":
        train = pool.candidates()
        held_with = self._held_with(pool, train, "chosen_id")
        share = train["p_chosen"].to_numpy().astype(np.float64)
        ids = train["chosen_id"].to_list() + train["rejected_id"].to_list()
        return _Targets(ids, pl.concat([held_with, held_with]), np.concatenate([share, 1 - share]))


@dataclass(frozen=True)
class _Targets:
    """What is learnt: completion ids, the prompt each is held out with, values (n,)."""

    ids: list[str]
    prompts: pl.Series
    values: Floats


def _predict(heads: Floats, features: Floats, fold: np.ndarray) -> Floats:
    """Sorted quantiles (n, levels) by the heads of ``fold``, by the mean over folds where it is -1."""
    bank = np.concatenate([heads, heads.mean(axis=0, keepdims=True)])
    found = np.empty((len(features), heads.shape[1]))
    for k in np.unique(fold):
        rows = fold == k
        found[rows] = features[rows] @ bank[k, :, :-1].T + bank[k, :, -1]
    return np.sort(found, axis=1)


def at_level(quantiles: Floats, levels: Floats, level: float) -> Floats:
    """The quantile at any level, (n,), linear between the known ones and flat beyond them."""
    place = float(np.interp(level, levels, np.arange(len(levels))))
    low = int(place)
    high = min(low + 1, len(levels) - 1)
    result: Floats = quantiles[:, low] + (place - low) * (quantiles[:, high] - quantiles[:, low])
    return result


def p_win(first: Floats, second: Floats) -> Floats:
    """P(A > B) + P(A = B) / 2 for independent A and B, each one of its quantiles (n, levels) at random, (n,)."""
    wins = np.zeros(len(first))
    for column in range(second.shape[1]):
        other = second[:, column, None]
        wins += (first > other).sum(axis=1) + 0.5 * (first == other).sum(axis=1)
    result: Floats = wins / (first.shape[1] * second.shape[1])
    return result
