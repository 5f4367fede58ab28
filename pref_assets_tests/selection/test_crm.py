"""Peer review against planted flips, its laws, and the order of batches that breaks it."""

from dataclasses import replace

import numpy as np
import pytest

from pref_assets.selection import Budget, Crm
from pref_assets.selection.peer_review import Course, first_heads, losses, lowest, train_peers
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.planted import plant

COURSE = Course(0.2, "peer", 20, 15, 128, 0.01, 1.0, 0.0, 0)


def learned(world, course):
    return train_peers(world.x, np.ones(len(world.x)), first_heads(world.x.shape[1], course.seed), course)


def bottom_precision(world, heads, share):
    margins = (world.x @ heads).mean(axis=1)
    return world.flipped[np.argsort(margins)[: round(share * len(margins))]].mean()


@pytest.mark.parametrize(("flips", "least"), [(0.2, 0.85), (0.4, 0.78)])
def test_the_hardest_pairs_are_the_flipped_ones(flips, least):
    world = plant(flips, seed=1)
    course = replace(COURSE, noise_rate=flips)
    peers, plain = learned(world, course), learned(world, replace(course, review="none"))
    assert abs(world.flipped.mean() - flips) < 0.02
    assert bottom_precision(world, peers, flips) >= least
    assert bottom_precision(world, peers, flips) > bottom_precision(world, plain, flips) + 0.005
    assert world.accuracy(peers.mean(axis=1)) > world.accuracy(plain.mean(axis=1)) + 0.005


def test_trimming_for_oneself_is_as_good_where_there_are_enough_pairs():
    world = plant(0.2, seed=1)
    alone = learned(world, replace(COURSE, review="self"))
    assert bottom_precision(world, alone, 0.2) >= 0.85


@pytest.mark.parametrize("flips", [0.2, 0.4])
def test_hazard_global_order_by_margin_collapses(flips):
    world = plant(flips, seed=1)
    course = replace(COURSE, noise_rate=flips, ramp_epochs=0, curriculum=1.0)
    heads = learned(world, course)
    assert bottom_precision(world, heads, flips) < 0.7
    assert world.accuracy(heads.mean(axis=1)) < 0.85


def test_a_gentle_curriculum_does_not():
    world = plant(0.2, seed=1)
    assert bottom_precision(world, learned(world, replace(COURSE, curriculum=0.3)), 0.2) >= 0.85


def test_without_noise_peers_are_two_plain_heads_bit_for_bit():
    world = plant(0.2, n=300, d=8)
    start, label = first_heads(8, 0), np.ones(300)
    course = replace(COURSE, noise_rate=0.0)
    peers = train_peers(world.x, label, start, course)
    assert np.array_equal(peers, train_peers(world.x, label, start, replace(course, review="none")))
    for head in (0, 1):
        alone = train_peers(world.x, label, start[:, [head]], replace(course, review="none"))
        assert np.array_equal(peers[:, [head]], alone)


def test_swapping_the_heads_swaps_what_comes_out():
    world = plant(0.2, n=300, d=8)
    start, label = first_heads(8, 0), np.ones(300)
    there, back = (train_peers(world.x, label, s, COURSE) for s in (start, start[:, ::-1]))
    assert np.array_equal(there, back[:, ::-1])
    assert not np.array_equal(there[:, 0], there[:, 1])


def test_the_share_passed_on_falls_over_the_ramp():
    course = replace(COURSE, noise_rate=0.4, ramp_epochs=4)
    assert [course.kept_share(e) for e in range(6)] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.6, 0.6])
    assert replace(course, ramp_epochs=0).kept_share(0) == pytest.approx(0.6)


@pytest.mark.parametrize("curriculum", [0.0, 0.5, 1.0])
def test_every_epoch_sees_every_pair_once(curriculum):
    margins = np.random.default_rng(0).normal(size=1000)
    batches = list(replace(COURSE, curriculum=curriculum).batches(margins, 3))
    assert sorted(np.concatenate(batches)) == list(range(1000))
    means = [margins[rows].mean() for rows in batches]
    falling = (np.diff(means) < 0).all()
    overlap = margins[batches[0]].min() < margins[batches[4]].max()
    assert (falling, overlap) == (curriculum > 0, curriculum < 1)


def test_lowest_and_losses_by_hand():
    assert lowest(np.array([[3.0, 1.0], [1.0, 1.0], [2.0, 5.0]]), 2).tolist() == [
        [False, True],
        [True, True],
        [True, False],
    ]
    found = losses(np.array([[0.0, 2.0]]), np.array([[0.5]]))
    assert found[0] == pytest.approx([np.log(2), 0.5 * np.log1p(np.exp(-2)) + 0.5 * np.log1p(np.exp(2))])


@pytest.mark.parametrize("settings", [{}, {"budget": Budget(count=100)}, {"rule": "lowest_share"}, {"review": "self"}])
def test_promises(settings):
    pool = plant(0.2, n=200, d=8).pool
    held_out = pool.pairs.with_columns(split=pool.pairs["split"].to_frame().to_series().shift(3, fill_value="test"))
    decisions = assert_promises(Crm(embeddings="minilm", epochs=3, **settings), replace(pool, pairs=held_out))
    assert (decisions["reason"] == "held_out").sum() == 3


def test_the_flag_is_that_both_reject():
    world = plant(0.2, n=600, d=8, seed=2)
    method = Crm(embeddings="minilm")
    pairs = world.pool.candidates()
    found = method.reviewed(pairs, world.pool.embeddings["minilm"])
    decisions = method.select(world.pool)
    both = ~found["kept_by_a"] & ~found["kept_by_b"]
    assert decisions["selected"].to_list() == (~both).to_list()
    assert (~found["kept_by_a"]).sum() == 120
    assert world.flipped[both.to_numpy()].mean() > 0.75
    lowest_share = Crm(embeddings="minilm", rule="lowest_share").select(world.pool)
    assert (~lowest_share["selected"]).sum() == 120


def test_a_budget_above_the_clean_pairs_is_an_error():
    pool = plant(0.2, n=50, d=4).pool
    with pytest.raises(ValueError, match=r"budget of 45 pairs, but only 40 of 50 look clean"):
        Crm(embeddings="minilm", rule="lowest_share", budget=Budget(count=45)).select(pool)


def test_missing_vectors_and_wild_steps_are_errors():
    pool = plant(0.2, n=50, d=4).pool
    vectors = pool.embeddings["minilm"]
    fewer = replace(vectors, ids=vectors.ids[1:], matrix=vectors.matrix[1:])
    with pytest.raises(ValueError, match="1 ids have no embedding"):
        Crm(embeddings="minilm").select(replace(pool, embeddings={"minilm": fewer}))
