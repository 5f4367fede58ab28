"""Two heads that review one another: planted flips, baselines, and the order that breaks it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pref_assets.heads.collaborative import Collaborative
from pref_assets.selection.peer_review import Course, first_heads, train_peers
from pref_assets_tests.heads.toys import planted, swapped


def head(**settings: Any) -> Collaborative:
    return Collaborative(embeddings="e", **settings)


@pytest.mark.parametrize(("flips", "least"), [(0.2, 0.85), (0.4, 0.78)])
def test_flipped_pairs_have_the_lowest_margins(flips: float, least: float) -> None:
    pool, truth = planted(4000, 32, seed=1, held_out=1000, noise=flips)
    train, test = pool.candidates(), pool.pairs.filter(split="test")
    vectors = pool.embeddings["e"]
    rows = [vectors.rows(train[side].to_list()) for side in ("chosen_id", "rejected_id")]
    flipped = (rows[0] - rows[1]) @ truth < 0
    assert abs(flipped.mean() - flips) < 0.02
    precision, accuracy = {}, {}
    for method in ("crm", "self_trim", "two_rm_avg"):
        fitted = head(method=method, noise_rate=flips).fit(pool, train)
        lowest = np.argsort(fitted.predict(pool, train).margin)[: round(flips * len(train))]
        precision[method] = flipped[lowest].mean()
        accuracy[method] = (fitted.predict(pool, test).margin > 0).mean()
    assert precision["crm"] >= least
    assert precision["crm"] > precision["two_rm_avg"]
    # Few flips hardly hurt two plain heads on this many pairs; many do.
    assert accuracy["crm"] > accuracy["two_rm_avg"] + (0.005 if flips == 0.4 else -0.01)


def test_hazard_the_global_order_with_a_fixed_share_collapses() -> None:
    pool, _ = planted(4000, 32, seed=1, held_out=1000, noise=0.4)
    train, test = pool.candidates(), pool.pairs.filter(split="test")
    vectors = pool.embeddings["e"]
    x = [vectors.rows(each[side].to_list()) for each in (train, test) for side in ("chosen_id", "rejected_id")]
    course = Course(0.4, "peer", 20, 0, 128, 0.01, 1.0, 1.0, 0)
    heads = train_peers((x[0] - x[1]).astype(float), np.ones(4000), first_heads(32, 0), course)
    collapsed = ((x[2] - x[3]) @ heads.mean(axis=1) > 0).mean()
    good = (head(noise_rate=0.4).fit(pool, train).predict(pool, test).margin > 0).mean()
    assert collapsed < 0.75 < 0.85 < good


def test_without_noise_it_is_two_plain_heads_bit_for_bit() -> None:
    pool, _ = planted(200, 6, seed=2)
    there, plain = (head(method=method, noise_rate=0).fit(pool, pool.pairs) for method in ("crm", "two_rm_avg"))
    assert np.array_equal(there.heads, plain.heads)


def test_swapping_the_heads_swaps_what_they_say_and_nothing_else() -> None:
    pool, _ = planted(200, 6, seed=3)
    fitted = head().fit(pool, pool.pairs)
    turned = replace(fitted, heads=fitted.heads[:, ::-1])
    there, back = fitted.predict(pool, pool.pairs), turned.predict(pool, pool.pairs)
    assert there.margin == pytest.approx(back.margin)
    assert there.uncertainty == pytest.approx(back.uncertainty)
    assert there.details["margin_a"] == pytest.approx(back.details["margin_b"])
    other = fitted.predict(pool, swapped(pool.pairs))
    assert other.margin == pytest.approx(-there.margin)
    assert np.array_equal(fitted.config.restore(turned.arrays()).predict(pool, pool.pairs).margin, back.margin)


def test_no_pair_is_an_error() -> None:
    pool, _ = planted(5, 3, seed=0)
    with pytest.raises(ValueError, match="no pair to learn from"):
        head().fit(pool, pool.pairs.clear())
