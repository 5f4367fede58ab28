from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pref_assets.proving.trial import Bench
from pref_assets.proving.worlds import PLANTED, PlantedWorld
from pref_assets.selection import All, Random, Selector
from pref_assets.selection.base import decide


class Knows(Selector):
    """Keeps what the truth says is clean, or turns flips round."""

    truth: dict[str, bool]
    relabel: bool = False

    def select(self, pool):
        flip = pl.col("pair_id").replace_strict(self.truth, return_dtype=pl.Boolean)
        order = pool.candidates().select("pair_id", flip=flip).sort("pair_id")
        keep = pl.lit(True) if self.relabel else ~pl.col("flip")
        p_chosen = pl.when(pl.col("flip") & self.relabel).then(0.0)
        return decide(pool, order.select("pair_id", selected=keep, reason=pl.lit("known"), p_chosen=p_chosen))


@pytest.fixture(scope="module")
def world():
    return PlantedWorld(flips=0.3, ties=0, duplicates=0, train=500, validation=20, test=400).plant(0)


@pytest.fixture(scope="module")
def bench(world) -> Bench:
    return Bench(world.pool, PLANTED, 0, world.truth)


def knows(world, **more) -> Knows:
    return Knows(truth=dict(world.truth.select("pair_id", "flip").rows()), **more)


def test_everything_is_its_own_control(bench) -> None:
    found = bench.measure(All())
    assert found["accuracy"] == found["accuracy_all"] == found["accuracy_random"]
    assert found["kept"] == 500
    assert found["wrong_labels"] == pytest.approx(0.3, abs=0.07)
    assert found["recall_flip"] == 0
    assert "precision_flip" not in found
    assert found["coverage"] == pytest.approx(1, abs=1e-6)


def test_who_knows_the_truth_reaches_the_oracle(bench, world) -> None:
    found = bench.measure(knows(world))
    assert (found["recall_flip"], found["precision_flip"], found["wrong_labels"]) == (1, 1, 0)
    assert found["accuracy"] == pytest.approx(found["accuracy_oracle"])
    assert found["accuracy"] > found["accuracy_random"] + 0.02


def test_a_turned_label_counts_as_found_and_trains_the_other_way(bench, world) -> None:
    turned, dropped = bench.measure(knows(world, relabel=True)), bench.measure(knows(world))
    assert (turned["kept"], turned["recall_flip"], turned["wrong_labels"]) == (500, 1, 0)
    assert turned["accuracy"] >= dropped["accuracy"] - 0.01


def test_controls_are_drawn_from_ids_and_the_seed(world, bench) -> None:
    shuffled = replace(world.pool, pairs=world.pool.pairs.sample(fraction=1, shuffle=True, seed=1))
    assert Bench(shuffled, PLANTED, 0, world.truth).controls(100) == bench.controls(100)
    assert Bench(world.pool, PLANTED, 1, world.truth).controls(100) != bench.controls(100)


def test_without_truth_only_what_labels_say_is_measured(world) -> None:
    found = Bench(world.pool, PLANTED, 0).measure(Random(budget=50))
    assert set(found) == {"kept", "seconds", "coverage", "accuracy", "accuracy_all", "accuracy_random"}


def test_a_pool_without_test_pairs_is_an_error(world) -> None:
    pool = world.pool.only(world.pool.pairs.filter(split="train")["pair_id"])
    with pytest.raises(ValueError, match="test pairs to measure on"):
        Bench(pool, PLANTED, 0).measure(All())


def test_topics_kept_are_counted_by_entropy(world, bench) -> None:
    one = world.truth.filter(topic=0)["pair_id"]
    truth = {pair: pair not in set(one) for pair in world.truth["pair_id"]}
    found = bench.measure(Knows(truth=truth))
    assert found["topics"] == pytest.approx(1 / world.truth["topic"].n_unique())
    assert np.isfinite(found["accuracy_topics"])
