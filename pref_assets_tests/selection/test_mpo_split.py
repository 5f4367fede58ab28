import numpy as np
import polars as pl
import pytest

from pref_assets.selection import MPOSplit
from pref_assets_tests.selection.pools import make_pool, selected


def stages(decisions: pl.DataFrame, stage: int) -> list[str]:
    return sorted(decisions.filter(pl.col("selected") & (pl.col("stage") == stage))["pair_id"])


def test_the_split_is_disjoint_exhaustive_and_by_the_gap() -> None:
    gaps = np.random.default_rng(0).normal(1, 1, 101)
    pool = make_pool(gaps.tolist(), held_out=3)
    decisions = MPOSplit(scores="strength").select(pool)
    easy, difficult = stages(decisions, 1), stages(decisions, 2)
    assert len(easy) + len(difficult) == 101
    assert not set(easy) & set(difficult)
    gap = dict(zip(decisions["pair_id"], decisions["score"], strict=True))
    assert min(gap[each] for each in easy) >= max(gap[each] for each in difficult)
    assert selected(decisions)[: len(easy)] == sorted(easy, key=lambda each: -gap[each])


def test_a_threshold_and_what_disagrees() -> None:
    pool = make_pool([3.0, 1.0, 0.5, -2.0, -0.1])
    kept = MPOSplit(scores="strength", gap_threshold=1.0).select(pool)
    assert stages(kept, 1) == ["p000", "p001"]
    assert kept["reason"][3] == "selected: difficult, gap -2.0, against the label"
    dropped = MPOSplit(scores="strength", gap_threshold=1.0, on_negative="drop").select(pool)
    assert dropped["selected"].to_list() == [True, True, True, False, False]
    assert dropped["reason"][3] == "disagrees: gap -2.0"
    turned = MPOSplit(scores="strength", gap_threshold=1.0, on_negative="flip").select(pool)
    assert stages(turned, 1) == ["p000", "p001", "p003"]
    assert turned["p_chosen"].to_list() == [None, None, None, 0.0, 0.0]
    assert turned["score"][3] == 2.0
    assert turned["reason"][3] == "selected: easy, gap 2.0, label turned round"


def test_negative_gaps_are_never_easy_by_rank() -> None:
    decisions = MPOSplit(scores="strength", quantile=0.1).select(make_pool([1.0, -1.0, -2.0, -3.0]))
    assert stages(decisions, 1) == ["p000"]


@pytest.mark.parametrize(("assign", "first"), [("gap", ["p000", "p001"]), ("reversed", ["p002", "p003"])])
def test_ablations(assign: str, first: list[str]) -> None:
    pool = make_pool([4.0, 3.0, 2.0, 1.0])
    settings = {"type": "mpo_split", "scores": "strength", "assign": assign}
    assert stages(MPOSplit.model_validate(settings).select(pool), 1) == first
    alone = MPOSplit.model_validate({**settings, "keep": "first"}).select(pool)
    assert sorted(selected(alone)) == stages(alone, 1) == first
    second = MPOSplit.model_validate({**settings, "keep": "second"}).select(pool)
    assert sorted(selected(second)) == stages(second, 1) == sorted({"p000", "p001", "p002", "p003"} - set(first))


def test_random_stages_have_the_same_sizes() -> None:
    gaps = np.random.default_rng(1).normal(size=50).tolist()
    pool = make_pool(gaps)
    sizes = [len(stages(MPOSplit(scores="strength", gap_threshold=0.3).select(pool), stage)) for stage in (1, 2)]
    splits = set()
    for seed in range(4):
        drawn = MPOSplit(scores="strength", gap_threshold=0.3, assign="random", seed=seed).select(pool)
        assert [len(stages(drawn, stage)) for stage in (1, 2)] == sizes
        splits.add(tuple(stages(drawn, 1)))
    assert len(splits) == 4


def test_planted_flips_are_among_the_difficult() -> None:
    """Linear Bradley-Terry toy: the reward is right, 20 % of the labels are not."""
    rng = np.random.default_rng(2)
    margin = np.abs(rng.normal(size=500))
    flipped = rng.random(500) < 0.2
    decisions = MPOSplit(scores="strength").select(make_pool(np.where(flipped, -margin, margin).tolist()))
    rate = [np.mean([flipped[int(each[1:])] for each in stages(decisions, stage)]) for stage in (1, 2)]
    assert rate[0] == 0
    assert rate[1] == pytest.approx(2 * flipped.mean(), abs=0.01)
