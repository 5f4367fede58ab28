"""Trials of a pipeline's own selectors."""

from typing import Any

import polars as pl
import pytest

from pref_assets.proving.real import Trials
from pref_assets.proving.worlds import PLANTED, PlantedWorld
from pref_assets.selection import All, Random


@pytest.fixture(scope="module")
def pool():
    return PlantedWorld(flips=0.2, train=300, validation=20, test=100).plant(0).pool


def trials(**more: Any) -> Trials:
    return Trials.model_validate({"embeddings": PLANTED, "seeds": [0, 1], "budgets": ["25%"], **more})


def test_a_seed_draws_a_share_of_the_prompts_and_controls_have_the_same_size(pool) -> None:
    rows = trials(share=0.5).trials(pool, {"all": All(), "random": Random(budget=5)}, "here")
    kept = rows.filter(metric="kept").select("method", "seed", "value")
    whole = dict(kept.filter(method="all").select("seed", "value").rows())
    assert whole[0] != whole[1]
    assert all(110 < n < 190 for n in whole.values())
    quarter = dict(kept.filter(method="random").select("seed", "value").rows())
    assert quarter == {seed: max(1, round(n / 4)) for seed, n in whole.items()}
    assert set(rows["world"]) == {"here"}
    assert rows["flips"].null_count() == len(rows)


def test_selectors_are_named_or_all() -> None:
    subsets = {"all": All(), "random": Random(budget=5)}
    assert list(trials().tried(subsets)) == ["all", "random"]
    assert list(trials(subsets=["random"]).tried(subsets)) == ["random"]
    assert [ref.name for ref in trials().references()] == [PLANTED]
    assert [ref.name for ref in trials(subsets=["random"]).references()] == [PLANTED, "random"]


def test_equal_settings_give_equal_trials(pool) -> None:
    first, again = (trials().trials(pool, {"random": Random(budget=5)}, "w") for _ in range(2))
    seconds = pl.col("metric") != "seconds"
    assert first.filter(seconds).equals(again.filter(seconds))
