"""What a truth file says of real pairs, in the words of planted worlds."""

from pathlib import Path

import polars as pl

from pref_assets.evaluation.heldout import read_truth, with_truth
from pref_assets.pairs.locations import find_files
from pref_assets.pool import Pool
from pref_assets.proving.worlds import TRUTH

COPY = "near_duplicate"
"""Fault of a truth file that a planted world calls a duplicate."""


def known_truth(pool: Pool, location: str) -> pl.DataFrame:
    """``TRUTH`` of the pool's pairs by truth files: which labels are wrong, which pairs are ties or near copies.

    ``topic`` is the first constraint family of the prompt, ``hard`` and ``group`` say nothing (false, 0).

    Raises:
        ValueError: the files say nothing of some pair.
    """
    truth = read_truth([Path(path) for _, path in find_files(location)])
    pairs = pool.pairs.select(
        *("pair_id", "chosen_id", "rejected_id"), pl.col("prompt_id").alias("group"), length_difference=pl.lit(0)
    )
    known = with_truth(pairs, truth)
    silent = known.filter(~pl.col("truth_known"))["pair_id"]
    if len(silent):
        raise ValueError(f"{location} says nothing of {len(silent)} pairs, e.g. {silent.head(3).to_list()}")
    family = pl.col("families").list.first().fill_null("none")
    return known.select(
        "pair_id",
        flip=~pl.col("label_right").fill_null(True),
        duplicate=pl.col("faults").list.contains(COPY),
        tie=pl.col("label_right").is_null(),
        hard=pl.lit(False),
        topic=family.rank("dense").cast(pl.Int64) - 1,
        group=pl.lit(0, pl.Int64),
    ).select(list(TRUTH))
