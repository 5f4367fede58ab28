"""What a fine-tuned reward model loses on each pair, from the outputs of both sides and what is known of the pair."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from pref_assets.training.errors import TrainingDataError, name_pairs
from pref_assets.training.objectives.reward import (
    bradley_terry,
    gaussian_bradley_terry,
    normal_points,
    rao_kupper,
    regression,
)

if TYPE_CHECKING:
    import torch

    from pref_assets.training.reward_model import RewardModelCheckpoint

PairLosses = Callable[["torch.Tensor", "torch.Tensor", Sequence[int]], "torch.Tensor"]
"""Losses (n,) of the outputs (n, k) of both sides of the rows given."""


def pair_losses(rows: pl.DataFrame, config: "RewardModelCheckpoint", device: "torch.device") -> PairLosses:
    """The loss of each pair. Raises ``TrainingDataError`` where a pair has not what it needs."""
    import torch

    known = {
        "p": rows["p_chosen"].to_list() if config.soft_labels else _certain(rows["p_chosen"]),
        "margin": rows["margin"].fill_null(0.0).to_list(),
        **{f"asked_{name}": _asked(rows, name) for name in config.score_columns()},
    }
    if config.loss == "scaled":
        below = [pair for pair, each in zip(rows["pair_id"], known["asked_scale"], strict=True) if each < 0]
        if below:
            raise TrainingDataError(f"loss `scaled`: scores {config.scores!r} are negative for {name_pairs(below)}")
    points = normal_points("gauss_hermite", config.points)

    def losses(good: "torch.Tensor", poor: "torch.Tensor", picked: Sequence[int]) -> "torch.Tensor":
        values = {name: torch.tensor([each[row] for row in picked], device=device) for name, each in known.items()}
        c, r, p, margin = good[:, 0], poor[:, 0], values["p"], values["margin"]
        centred = config.center_coefficient * (c + r) ** 2
        if config.loss == "regression":
            return regression(c, r, values["asked_target_chosen"], values["asked_target_rejected"])
        if config.loss == "rao_kupper":
            return rao_kupper(c - margin, r, p, config.tie_threshold) + centred
        if config.loss == "gaussian":
            bound = config.largest_log_sigma
            one, other = ((2 * side[:, 1].clamp(-bound, bound)).exp() for side in (good, poor))
            return gaussian_bradley_terry(c - r - margin, (one + other).sqrt(), p, config.form, points) + centred
        scale = values.get("asked_scale", 1.0)
        margin = margin + values.get("asked_margin", 0.0)
        return bradley_terry(c, r, p, margin=margin, scale=scale, center=config.center_coefficient)

    return losses


def _certain(p_chosen: pl.Series) -> list[float]:
    """Labels that count as certain; ties stay ties."""
    return [0.5 if p == 0.5 else 1.0 for p in p_chosen]


def _asked(rows: pl.DataFrame, name: str) -> list[float]:
    named = pl.col("columns").list.filter(pl.element().struct.field("name") == name)
    found = rows.select(value=named.list.first().struct.field("value"))["value"]
    absent = rows["pair_id"].filter(found.is_null()).to_list()
    if absent:
        raise TrainingDataError(f"the loss needs `{name}`, which is not known of {name_pairs(absent)}")
    return found.to_list()
