"""ACC and ACC+ of MM-RLHF's reward bench: pure functions from the rewards of pairs to numbers."""

import posixpath
from collections.abc import Sequence

import numpy as np
import polars as pl

from pref_assets.evaluation.benches.counting import Counted
from pref_assets.evaluation.draws import Drawn, drawn_mean, part_seed
from pref_assets.evaluation.intervals import group_numbers

UNCATEGORISED = "uncategorised"
"""Category of rows that no category fits; they count in the whole."""
PAIR_REWARDS = pl.Schema(
    {
        "pair_id": pl.String(),
        "group": pl.String(),
        "category": pl.String(),
        "chosen": pl.Float64(),
        "rejected": pl.Float64(),
    }
)
"""A judged pair: ``group`` is the prompt's id, rewards may be null or NaN where the model gave none."""


def category_of(path: str | None, categories: Sequence[str] | None) -> str:
    """The first folder of a relative path, where it is one of ``categories`` (null: any folder), else
    ``uncategorised``.

    A folder, not a part of the name: ``short/long_dog.png`` is short, whatever its file is called.
    """
    plain = posixpath.normpath((path or "").replace("\\", "/").removeprefix("file://"))
    folder, slash, _ = plain.partition("/")
    known = bool(slash) and folder not in ("", "..") and (categories is None or folder in categories)
    return folder if known else UNCATEGORISED


def pair_accuracies(rewards: pl.DataFrame, seed: int, resamples: int) -> list[Counted]:
    """``accuracy``, ``accuracy_plus`` and ``undecided`` of judged pairs, on ``all`` and on ``category:<name>``.

    - ``accuracy``: share of pairs whose chosen side has strictly the higher reward (ACC);
    - ``accuracy_plus``: share of prompts all of whose pairs are right (ACC+; MM-RLHF, arXiv:2502.10391, section 4.3);
      in a category, of the prompts' pairs in that category;
    - ``undecided``: share of pairs with equal rewards or without one, which count as wrong above.

    Intervals resample prompts. A category without pairs has no rows.

    Args:
        rewards: ``PAIR_REWARDS``, each pair once, in any order.
        seed, resamples: of the bootstrap.

    Raises:
        ValueError: there is no pair, or a pair occurs twice.
    """
    if rewards.is_empty():
        raise ValueError("no pair was judged, so no share of right pairs is defined")
    if (twice := rewards.filter(pl.col("pair_id").is_duplicated())).height:
        raise ValueError(f"pair {twice['pair_id'][0]} is judged twice; count each pair once")
    known = pl.all_horizontal(pl.col(side).is_not_nan().fill_null(False) for side in ("chosen", "rejected"))
    judged = rewards.select(
        *("pair_id", "group", "category"),
        right=pl.when(known).then((pl.col("chosen") > pl.col("rejected")).cast(pl.Float64)).otherwise(0.0),
        undecided=pl.when(known).then((pl.col("chosen") == pl.col("rejected")).cast(pl.Float64)).otherwise(1.0),
    ).sort("group", "pair_id")
    parts = [("all", judged)]
    parts += [
        (f"category:{name}", part)
        for (name,), part in judged.sort("category", "group", "pair_id").group_by("category", maintain_order=True)
    ]
    return [each for name, part in parts for each in _part(name, part, part_seed(seed, name), resamples)]


def _part(name: str, part: pl.DataFrame, seed: int, resamples: int) -> list[Counted]:
    right, groups = part["right"].to_numpy(), group_numbers(part["group"].to_list())
    whole = part.group_by("group").agg(pl.col("right").min()).sort("group")["right"].to_numpy()
    undecided = part["undecided"].to_numpy()
    found: dict[str, Drawn] = {
        "accuracy": drawn_mean(right, groups, seed, resamples),
        "accuracy_plus": drawn_mean(whole, np.arange(len(whole)), seed, resamples),
        "undecided": drawn_mean(undecided, groups, seed, resamples),
    }
    return [Counted(metric, name, value) for metric, value in found.items()]
