"""Contexts: comparisons that flip with them, mixtures, and who has which in mind."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pref_assets.heads.bt import Bt
from pref_assets.heads.context import Context, contexts_of
from pref_assets.heads.contexts import (
    context_posterior,
    context_sensitivity,
    context_vectors,
    mixed_preference,
    reversal_rate,
)
from pref_assets.pairs.schema import PROMPTS
from pref_assets.pool import Pool
from pref_assets_tests.heads.toys import pool_of, swapped

WANTS = ("Prefer the brief answer.", "Prefer the thorough answer.")


def reversals(n: int = 100, seed: int = 0, context: bool = True) -> Pool:
    """``n`` comparisons, each under two contexts with opposite preferences: 2 n rows, as in RPR."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(2 * n, 6))
    truth = np.array([2.0, -1, 0, 0, 1, 0])
    rows, prompts = [], []
    for i in range(n):
        brief = bool((matrix[i] - matrix[n + i]) @ truth > 0)
        for z, left in enumerate((brief, not brief)):
            name = f"q{i:04}.{z}"
            prompts.append({"prompt_id": name, "messages": [], "context": WANTS[z] if context else None})
            sides = (i, n + i) if left else (n + i, i)
            rows.append({"chosen": sides[0], "rejected": sides[1], "prompt_id": name})
    return pool_of(matrix, rows, prompts=PROMPTS.frame(prompts))


def head(**settings: Any) -> Context:
    return Context(embeddings="e", **settings)


def test_reversals_are_learned_with_the_context_and_are_even_without() -> None:
    pool, test = reversals(), reversals(seed=1)
    fitted = head().fit(pool, pool.pairs)
    assert (fitted.predict(pool, pool.pairs).margin > 0).all()
    found = fitted.predict(test, test.pairs)
    blind = Bt(embeddings="e").fit(pool, pool.pairs).predict(test, test.pairs)
    assert (found.margin > 0).mean() > 0.93
    # Whatever a reward that does not read the context says, it is right once and wrong once.
    assert blind.margin[0::2] == pytest.approx(-blind.margin[1::2])
    assert context_sensitivity(found.margin, np.where(np.arange(200) % 2, -1.0, 1.0)) > 0.43
    assert np.mean(found.details["without"][0::2] == -found.details["without"][1::2]) == 1
    assert reversal_rate(found.margin[0::2], -found.margin[1::2]) > 0.9
    assert (found.details["swing"] > np.abs(found.details["without"])).mean() > 0.85


def test_without_a_context_the_contexts_are_mixed() -> None:
    pool, silent = reversals(), reversals(seed=1, context=False)
    fitted = head().fit(pool, pool.pairs)
    assert (fitted.known, fitted.prior.tolist()) == (sorted(WANTS), [0.5, 0.5])
    mixed = fitted.predict(silent, silent.pairs)
    vectors = silent.embeddings["e"]
    ids = [silent.pairs[side].to_list() for side in ("chosen_id", "rejected_id")]
    margins = fitted.margins((vectors.rows(ids[0]) - vectors.rows(ids[1])).astype(np.float64))
    p = (1 / (1 + np.exp(-margins))).mean(axis=1)
    assert 1 / (1 + np.exp(-mixed.margin)) == pytest.approx(p, abs=1e-12)
    alone = head(unknown="none").fit(pool, pool.pairs).predict(silent, silent.pairs)
    assert alone.margin == pytest.approx(alone.details["without"])


def test_a_planted_mixture_is_reproduced() -> None:
    rng = np.random.default_rng(0)
    by_context, weights = rng.random((50, 4)), rng.dirichlet(np.ones(4), size=50)
    planted = np.array(
        [sum(w * p for w, p in zip(ws, ps, strict=True)) for ws, ps in zip(weights, by_context, strict=True)]
    )
    assert np.abs(mixed_preference(by_context, weights) - planted).max() < 1e-12


def test_few_labels_tell_which_context_a_person_has_in_mind() -> None:
    margins = np.array([[2.0, -2.0], [1.0, -1.0], [0.0, 0.0]])
    found = context_posterior(margins, np.array([1.0, 1.0, 1.0]), np.array([0.5, 0.5]))
    odds = (1 / (1 + np.exp(-2)) / (1 / (1 + np.exp(2)))) * (1 / (1 + np.exp(-1)) / (1 / (1 + np.exp(1))))
    assert found[0] / found[1] == pytest.approx(odds)
    assert context_posterior(margins[:0], np.zeros(0), np.array([0.3, 0.7])) == pytest.approx([0.3, 0.7])


def test_bags_of_words() -> None:
    bags = context_vectors(["Be brief", "brief be", "be brief brief", None, ""], 64)
    assert np.array_equal(bags[0], bags[1])
    assert not np.array_equal(bags[0], bags[2])
    assert np.linalg.norm(bags, axis=1) == pytest.approx([1, 1, 1, 0, 0])


@pytest.mark.parametrize("context", [True, False])
def test_sides_swap_and_arrays_restore(context: bool) -> None:
    pool = reversals(20)
    method = head(max_steps=20)
    fitted = method.fit(pool, pool.pairs)
    asked = reversals(20, context=context)
    there, back = fitted.predict(asked, asked.pairs), fitted.predict(asked, swapped(asked.pairs))
    assert there.margin == pytest.approx(-back.margin, abs=1e-12)
    again = method.restore(fitted.arrays())
    assert np.array_equal(again.predict(asked, asked.pairs).margin, there.margin)


def test_no_context_at_all_is_an_error() -> None:
    pool = reversals(5, context=False)
    with pytest.raises(ValueError, match="none of the 10 pairs has a prompt with a context"):
        head().fit(pool, pool.pairs)
    across = pool.pairs.with_columns(prompt_id=pl.lit(None, pl.String))
    assert contexts_of(replace(pool, pairs=across), across).null_count() == 10
