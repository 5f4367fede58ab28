"""Heads fitted out of fold by prompt, calibrated on what they say of prompts they never saw."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.heads.base import Fitted, Floats, Head, Predictions, labels_of, prompt_of
from pref_assets.pool import Pool, seeded_hash, seeded_uniform
from pref_assets.scoring.calibration import fit_temperature, probability, reliability

HEADS_FILE, CONFIG_FILE = "heads.safetensors", "head.json"


@dataclass(frozen=True)
class CrossFitted:
    """Fitted heads: ``heads[fold][member]``, the calibration, and what was measured out of fold."""

    config: Head
    heads: tuple[tuple[Fitted, ...], ...]
    temperature: float
    metrics: dict[str, float]

    def fold_of(self, pairs: pl.DataFrame) -> NDArray[np.int64]:
        """The fold whose heads never saw the pair, (n,); -1, all folds, where the pair is not ``train``."""
        return np.where((pairs["split"] == "train").to_numpy(), _fold_of(self.config, pairs), -1)

    def predict(self, pool: Pool, pairs: pl.DataFrame) -> Predictions:
        """Means over the members of the pair's own fold, or over all heads where the pair is not ``train``.

        ``uncertainty`` is the root of the variance of the margin over these heads plus the mean of the variances that
        they state themselves; ``None`` where a single head states none.

        Raises:
            ValueError: as ``Fitted.predict``.
        """
        return _out_of_fold(self.heads, self.fold_of(pairs), pool, pairs)

    def p_correct(self, margin: Floats) -> Floats:
        """The calibrated probability, (n,), that a fresh label would agree."""
        return probability(margin, self.temperature)

    def save(self, folder: Path) -> None:
        """Writes ``heads.safetensors`` and ``head.json`` (settings, temperature, metrics) into the folder."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{fold}.{member}.{name}": np.ascontiguousarray(array)
            for fold, members in enumerate(self.heads)
            for member, head in enumerate(members)
            for name, array in head.arrays().items()
        }
        save_file(arrays, str(folder / HEADS_FILE))
        text = {"config": self.config.model_dump(mode="json"), "temperature": self.temperature, "metrics": self.metrics}
        (folder / CONFIG_FILE).write_text(json.dumps(text, indent=1, sort_keys=True))

    @classmethod
    def load(cls, folder: Path, config: Head) -> "CrossFitted":
        """What ``save`` wrote, of a head with these settings (``heads.load_reward_model`` reads them from there)."""
        from safetensors.numpy import load_file

        found: dict[tuple[int, int], dict[str, NDArray]] = {}
        for key, array in load_file(str(folder / HEADS_FILE)).items():
            fold, member, name = key.split(".", 2)
            found.setdefault((int(fold), int(member)), {})[name] = array
        wanted = config.cross_fit
        heads = tuple(
            tuple(config.restore(found[fold, member]) for member in range(wanted.members))
            for fold in range(wanted.folds)
        )
        text = json.loads((folder / CONFIG_FILE).read_text())
        return cls(config, heads, text["temperature"], text["metrics"])


def cross_fit(head: Head, pool: Pool) -> CrossFitted:
    """Fits ``folds`` x ``members`` heads on the ``train`` pairs and calibrates them out of fold.

    Pairs that share a completion with a fold's pairs (pairs across prompts may) do not teach its heads.

    Raises:
        ValueError: pairs of fewer than two folds of prompts, or as ``Head.fit``.
    """
    train = pool.candidates()
    fold = _fold_of(head, train)
    if len(np.unique(fold)) < 2:
        raise ValueError(
            f"{_type(head)}: the {len(train)} train pairs fall into {len(np.unique(fold))} of {head.cross_fit.folds} "
            "folds by prompt; cross-fitting needs pairs of at least two prompts, better of hundreds"
        )
    heads = tuple(tuple(_members(head, pool, _outside(train, fold == k), k)) for k in range(head.cross_fit.folds))
    found = _out_of_fold(heads, fold, pool, train)
    labels = labels_of(train)
    temperature = fit_temperature(found.margin, labels)
    metrics = {
        "train_pairs": float(len(train)),
        "train_prompts": float(prompt_of(train).n_unique()),
        "temperature": temperature,
        **reliability(found.margin, labels, temperature),
    }
    if found.uncertainty is not None:
        metrics["mean_uncertainty"] = float(found.uncertainty.mean())
    return CrossFitted(head, heads, temperature, metrics)


def _type(head: Head) -> str:
    return str(head.model_dump()["type"])


def _fold_of(head: Head, pairs: pl.DataFrame) -> NDArray[np.int64]:
    """By prompt: a hash, so it never changes when data is added; the folds of `bradley_terry` with the same seed."""
    hashes = seeded_hash(prompt_of(pairs), head.seed, "fold")
    return (hashes % head.cross_fit.folds).to_numpy().astype(np.int64)


def _outside(train: pl.DataFrame, held: NDArray[np.bool_]) -> pl.DataFrame:
    """The pairs outside the fold that share no completion with it."""
    inside = train.filter(held)
    ids = pl.concat([inside["chosen_id"], inside["rejected_id"]]).unique().implode()
    return train.filter(~held).filter(~pl.col("chosen_id").is_in(ids) & ~pl.col("rejected_id").is_in(ids))


def _members(head: Head, pool: Pool, rows: pl.DataFrame, fold: int) -> Iterator[Fitted]:
    for member in range(head.cross_fit.members):
        taught = rows
        if head.cross_fit.members > 1 and head.cross_fit.share < 1:
            taught = rows.filter(pl.Series(_drawn(head, rows, member)))
        # Seeds of fits are told apart by hashing, so that head seed 0 member 1 is not head seed 1 member 0.
        seed = int(seeded_hash([f"{fold}.{member}"], head.seed, "member")[0] % 2**31)
        yield head.model_copy(update={"seed": seed}).fit(replace(pool, pairs=taught), taught)


def _drawn(head: Head, rows: pl.DataFrame, member: int) -> NDArray[np.bool_]:
    """Which rows a member sees, (n,): those of the prompts whose hash falls under the share; all prompts if none."""
    drawn = seeded_uniform(prompt_of(rows), head.seed, f"sample {member}") < head.cross_fit.share
    return drawn if drawn.any() else np.ones(len(rows), bool)


def _out_of_fold(
    heads: tuple[tuple[Fitted, ...], ...], fold: NDArray[np.int64], pool: Pool, pairs: pl.DataFrame
) -> Predictions:
    parts, rows = [], []
    for k in np.unique(fold):
        mine = np.flatnonzero(fold == k)
        asked = heads[k] if k >= 0 else [each for members in heads for each in members]
        parts.append(pooled([each.predict(pool, pairs[mine]) for each in asked]))
        rows.append(mine)
    if not parts:
        return Predictions(np.zeros(0))
    back = np.argsort(np.concatenate(rows))
    return Predictions(
        margin=np.concatenate([part.margin for part in parts])[back],
        score_chosen=_joined([part.score_chosen for part in parts], back),
        score_rejected=_joined([part.score_rejected for part in parts], back),
        uncertainty=_joined([part.uncertainty for part in parts], back),
        details={name: np.concatenate([part.details[name] for part in parts])[back] for name in parts[0].details},
    )


def _joined(parts: list[Floats | None], back: NDArray[np.int64]) -> Floats | None:
    known = [each for each in parts if each is not None]
    return np.concatenate(known)[back] if len(known) == len(parts) else None


def pooled(said: list[Predictions]) -> Predictions:
    """The mean of what several heads say of the same pairs; the variance of their margins adds to their own."""
    margins = np.stack([each.margin for each in said])
    stated = _mean([None if each.uncertainty is None else each.uncertainty**2 for each in said])
    between = margins.var(axis=0, ddof=1) if len(said) > 1 else None
    variances = [each for each in (stated, between) if each is not None]
    return Predictions(
        margin=margins.mean(axis=0),
        score_chosen=_mean([each.score_chosen for each in said]),
        score_rejected=_mean([each.score_rejected for each in said]),
        uncertainty=np.sqrt(np.sum(variances, axis=0)) if variances else None,
        details={name: np.mean([each.details[name] for each in said], axis=0) for name in said[0].details},
    )


def _mean(values: list[Floats | None]) -> Floats | None:
    known = [each for each in values if each is not None]
    return np.mean(known, axis=0) if len(known) == len(values) else None
