"""What gradient scorers share: the loss of a linear Bradley-Terry head, and the pairs that may be trusted."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.pool import Pool, seeded_hash

Floats = NDArray[np.float64]


def losses(margins: Floats, p_chosen: Floats) -> Floats:
    """-p log s(m) - (1 - p) log s(-m), elementwise, in nats."""
    result: Floats = np.logaddexp(0, -margins) + (1 - p_chosen) * margins
    return result


def residuals(margins: Floats, p_chosen: Floats) -> Floats:
    """s(m) - p, the derivative of the loss in the margin: a pair's gradient is this times e(chosen) - e(rejected)."""
    result: Floats = 0.5 * (1 + np.tanh(0.5 * margins)) - p_chosen
    return result


def labels(pairs: pl.DataFrame) -> Floats:
    """p_chosen of the pairs, (n,)."""
    return pairs["p_chosen"].to_numpy().astype(np.float64)


def trusted_pairs(pool: Pool, most: int, seed: int) -> pl.DataFrame:
    """The ``validation`` pairs, ordered by id; when there are more than ``most``, a sample that the seed draws.

    They are the reference that influence is measured on. ``test`` pairs never are: what they say of a checkpoint
    would no longer be news.

    Raises:
        ValueError: there is no validation pair.
    """
    trusted = pool.pairs.filter(pl.col("split") == "validation").sort("pair_id")
    if trusted.is_empty():
        raise ValueError(
            "influence is measured on the `validation` pairs, and this pipeline has none; "
            "give the validation split a share"
        )
    drawn = trusted.sort(by=seeded_hash(trusted["pair_id"], seed, "trusted")).head(most)
    return drawn.sort("pair_id")


def only_train(pairs: pl.DataFrame, train: pl.DataFrame) -> pl.DataFrame:
    """Frame (pair_id, category, …) of all pairs from numbers of the ``train`` ones; the others have none, and
    ``category`` says why: ``reference`` (validation) or ``held_out`` (test)."""
    why = (
        pl.when(pl.col("split") == "validation")
        .then(pl.lit("reference"))
        .when(pl.col("split") != "train")
        .then(pl.lit("held_out"))
    )
    every = pairs.select("pair_id", category=why)
    return every.join(train, on="pair_id", how="left", validate="1:1")
