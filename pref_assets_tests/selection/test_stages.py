import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.selection import Stages
from pref_assets_tests.selection.pools import make_pool, selected, shuffled


def stages(method: Stages, scores: list[float]) -> list[int]:
    """Stage of p000, p001, …; all of them train."""
    decisions = method.select(make_pool(scores, held_out=2)).filter(pl.col("reason") != "held_out")
    assert decisions["selected"].all()
    return decisions["stage"].to_list()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"n": 3}, [1, 1, 2, 2, 3, 3]),
        ({"n": 4}, [1, 1, 2, 3, 3, 4]),
        ({"n": 3, "easy": "low"}, [3, 3, 2, 2, 1, 1]),
        ({"n": 3, "order": "hard_first"}, [3, 3, 2, 2, 1, 1]),
        ({"n": 3, "easy": "low", "order": "hard_first"}, [1, 1, 2, 2, 3, 3]),
        ({"thresholds": [1.0, 5.0]}, [1, 1, 2, 2, 2, 3]),
        ({"thresholds": [1.0, 5.0], "easy": "low"}, [3, 3, 2, 2, 2, 1]),
        ({"thresholds": [1.0, 5.0], "order": "hard_first"}, [3, 3, 2, 2, 2, 1]),
    ],
)
def test_stages_by_rank_and_by_thresholds(settings: dict, expected: list[int]) -> None:
    assert stages(Stages(scores="strength", **settings), [6.0, 5.0, 3.0, 2.0, 1.0, 0.5]) == expected


def test_random_stages_have_the_same_sizes_and_other_members() -> None:
    scores = np.random.default_rng(0).normal(size=50).tolist()
    drawn = [stages(Stages(scores="strength", order="random", seed=seed), scores) for seed in range(4)]
    assert {tuple(np.bincount(each)) for each in drawn} == {(0, 17, 17, 16)}
    assert len({tuple(each) for each in drawn}) == 4
    assert abs(np.corrcoef(drawn[0], scores)[0, 1]) < 0.3


def test_ranks_go_by_stage_then_from_easy_to_hard() -> None:
    pool = make_pool([0.1, 0.9, 0.5, 0.7])
    method = Stages(scores="strength", n=2, order="hard_first")
    assert selected(method.select(pool)) == ["p002", "p000", "p001", "p003"]
    assert selected(method.select(shuffled(pool, 1))) == ["p002", "p000", "p001", "p003"]


def test_thresholds_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValidationError, match="thresholds must rise"):
        Stages(thresholds=[2.0, 1.0])
