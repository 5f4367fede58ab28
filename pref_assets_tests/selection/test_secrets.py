"""Labels that follow an ensemble: by hand, and on planted flips."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pref_assets.scoring import BradleyTerry, RewardEnsemble
from pref_assets.selection import Budget, Secrets
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.planted import plant
from pref_assets_tests.selection.pools import make_pool, selected

MARGINS = [2.0, -1.0, 0.5, -3.0, 1.0]


def labels(action, **settings):
    decisions = Secrets(scores="strength", action=action, flip_share=0.4, **settings).select(make_pool(MARGINS))
    return decisions["p_chosen"].to_list(), decisions["margin"].to_list()


def test_flip_turns_the_lowest_share_around():
    assert labels("flip") == ([None, 0.0, None, 0.0, None], [None] * 5)


def test_soft_label_makes_negative_margins_uncertain():
    assert labels("soft_label")[0] == pytest.approx([None, 0.9, None, 0.9, None])
    assert labels("soft_label", alpha=0.5)[0] == [None, 0.5, None, 0.5, None]
    assert labels("soft_label", soften_below=0.8)[0] == pytest.approx([None, 0.9, 0.9, 0.9, None])


def test_margins_are_the_mean_margins_of_the_side_that_trains():
    assert labels("margin") == ([None] * 5, MARGINS)
    assert labels("margin", margin_scale=0.5)[1] == [1.0, -0.5, 0.25, -1.5, 0.5]
    assert labels("flip_and_margin") == ([None, 0.0, None, 0.0, None], [2.0, 1.0, 0.5, 3.0, 1.0])
    soft, margins = labels("soft_and_margin")
    assert (soft, margins) == (pytest.approx([None, 0.9, None, 0.9, None]), MARGINS)


def test_reasons_say_what_happened():
    decisions = Secrets(scores="strength", flip_share=0.4).select(make_pool(MARGINS))
    assert decisions["reason"].to_list()[:2] == [
        "selected: label kept",
        "flipped_label: mean margin -1.0 is among the lowest 40 %",
    ]
    assert selected(decisions) == ["p000", "p004", "p002", "p001", "p003"]
    soft = Secrets(scores="strength", action="soft_label").select(make_pool(MARGINS))
    assert soft["reason"][1] == "soft_label: mean margin -1.0 is below 0"


def test_ties_have_no_label_to_flip_or_soften():
    pool = make_pool(MARGINS)
    tied = replace(pool, pairs=pool.pairs.with_columns(p_chosen=pl.lit(0.5)))
    for action in ("flip", "soft_label"):
        decisions = Secrets(scores="strength", action=action).select(tied)
        assert decisions["p_chosen"].null_count() == 5
        assert decisions["selected"].all()


def test_constant_scores_are_flipped_by_the_seed():
    pool = make_pool([1.0] * 40)
    turned = [
        set(Secrets(scores="strength", seed=s).select(pool).filter(pl.col("p_chosen") == 0)["pair_id"]) for s in (0, 1)
    ]
    assert [len(each) for each in turned] == [8, 8]
    assert turned[0] != turned[1]


@pytest.mark.parametrize("action", ["flip", "soft_label", "margin", "flip_and_margin", "soft_and_margin"])
@pytest.mark.parametrize("budget", [None, Budget(count=11), Budget(fraction=0.3)])
def test_promises(action, budget):
    pool = make_pool(np.random.default_rng(0).normal(size=40).round(1).tolist(), held_out=3)
    assert_promises(Secrets(scores="strength", action=action, budget=budget), pool)


def test_a_budget_draws_labels_as_they_are_without_one():
    pool = make_pool(np.random.default_rng(0).normal(size=40).tolist())
    whole = Secrets(scores="strength").select(pool)
    part = Secrets(scores="strength", budget=Budget(count=10)).select(pool).filter("selected")
    assert part.select("pair_id", "p_chosen").equals(
        part.select("pair_id").join(whole.select("pair_id", "p_chosen"), on="pair_id", maintain_order="left")
    )


def test_scores_that_cannot_be_ranked_are_errors():
    with pytest.raises(ValueError, match=r"1 of 3 train pairs have no usable 'score' in scores 'strength'.*p001"):
        Secrets(scores="strength").select(make_pool([1.0, float("nan"), 2.0], p_correct=[0.5] * 3))


@pytest.mark.parametrize(("flips", "least", "residual"), [(0.2, 0.85, 0.06), (0.4, 0.75, 0.22)])
def test_the_lowest_share_of_an_ensemble_is_flipped_pairs(flips, least, residual):
    world = plant(flips, seed=1)
    vectors = world.pool.embeddings["minilm"]
    ensemble = BradleyTerry(embeddings="minilm", members=10).fit(world.pool.pairs, vectors)
    scores = RewardEnsemble(reward_model="rm").strengths(world.pool.pairs, vectors, ensemble)
    decisions = Secrets(scores="strength", flip_share=flips).select(replace(world.pool, scores={"strength": scores}))
    turned = (decisions["p_chosen"] == 0).fill_null(False).to_numpy()
    assert world.flipped[turned].mean() >= least
    assert (world.flipped ^ turned).mean() < residual < flips
    negative = scores["score"].to_numpy() < 0
    assert world.flipped[negative].mean() > least - 0.1
