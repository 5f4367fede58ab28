"""What every selector promises, as assertions on one selector and one pool."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from pref_assets.pairs.schema import DECISIONS
from pref_assets.pool import Pool, Vectors
from pref_assets.selection import Budget, Selector


def assert_promises(method: Selector, pool: Pool, *, short: bool = False) -> pl.DataFrame:
    """Asserts every promise of ``Selector.select`` (``short``: it may keep less than its budget); the decisions."""
    decisions = method.select(pool)
    candidates = pool.candidates()["pair_id"].to_list()
    kept = decisions.filter("selected").sort("rank")

    assert decisions.schema == DECISIONS.schema
    assert decisions["pair_id"].to_list() == pool.pairs["pair_id"].sort().to_list()
    assert decisions["reason"].str.len_chars().min() is None or decisions["reason"].str.len_chars().min() > 0
    assert decisions["selected"].null_count() == 0
    assert sorted(decisions["rank"].drop_nulls()) == list(range(1, len(candidates) + 1))
    assert kept["rank"].to_list() == list(range(1, len(kept) + 1))
    assert kept["weight"].is_finite().all()
    assert (kept["weight"] > 0).all()
    outside = decisions.filter(~pl.col("pair_id").is_in(candidates))
    assert set(outside["reason"]) <= {"held_out"}
    assert not outside["selected"].any()

    budget = getattr(method, "budget", None)
    if isinstance(budget, Budget) and budget.tokens is None:
        wanted = budget.resolve(len(candidates))
        assert len(kept) <= wanted if short else len(kept) == wanted
    assert_frame_equal(method.select(pool), decisions)
    for seed in range(2):
        assert_frame_equal(method.select(shuffled(pool, seed)), decisions)
    return decisions


def shuffled(pool: Pool, seed: int) -> Pool:
    """The same pool with every table, and every bank of vectors, in another row order."""

    def mixed(tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
        return {name: _mixed(table, seed) for name, table in tables.items()}

    return replace(
        pool,
        **{name: _mixed(getattr(pool, name), seed) for name in ("pairs", "completions", "prompts")},
        **{name: mixed(getattr(pool, name)) for name in ("scores", "clusters", "reference_logps")},
        embeddings={name: _mixed_vectors(vectors, seed) for name, vectors in pool.embeddings.items()},
    )


def _mixed(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    return frame.sample(fraction=1, shuffle=True, seed=seed)


def _mixed_vectors(vectors: Vectors, seed: int) -> Vectors:
    rows = np.random.default_rng(seed).permutation(len(vectors.ids))
    counts = None if vectors.n_tokens is None else vectors.n_tokens[rows]
    return Vectors([vectors.ids[row] for row in rows], vectors.matrix[rows], counts)
