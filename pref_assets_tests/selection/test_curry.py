"""Card 37: ratings (5, 4, 3, 2) make three pairs with gaps 3, 2, 1 in stages 1, 2, 3."""

from itertools import combinations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.pairs.schema import COMPLETIONS, PAIR_SCORES, PAIRS
from pref_assets.pool import Pool
from pref_assets.selection import Curry


def rated_pool(ratings: list[list[float]]) -> Pool:
    """Every two answers of each prompt, labelled and scored by their ratings; ``q0a0`` is the first of prompt 0."""
    pairs, scores = [], []
    for prompt, values in enumerate(ratings):
        for i, j in combinations(range(len(values)), 2):
            win, lose = (i, j) if values[i] >= values[j] else (j, i)
            pair_id, gap = f"q{prompt}a{win}a{lose}", values[win] - values[lose]
            sides = {"chosen_id": f"q{prompt}a{win}", "rejected_id": f"q{prompt}a{lose}"}
            pairs.append(
                {"pair_id": pair_id, "prompt_id": f"q{prompt}", **sides, "p_chosen": 1.0, "strength": gap}
                | {"split": "train"}
            )
            scores.append({"pair_id": pair_id, "score": gap})
    return Pool(PAIRS.frame(pairs), COMPLETIONS.empty(), {"gap": PAIR_SCORES.frame(scores)})


def kept(method: Curry, pool: Pool) -> dict[str, int]:
    """Stage of each selected pair."""
    return dict(method.select(pool).filter("selected").sort("rank").select("pair_id", "stage").iter_rows())


def test_the_card() -> None:
    pool = rated_pool([[5.0, 4.0, 3.0, 2.0]])
    for method in (Curry(), Curry(scores="gap")):
        decisions = method.select(pool).filter("selected").sort("rank")
        assert decisions["pair_id"].to_list() == ["q0a0a3", "q0a0a2", "q0a0a1"]
        assert decisions["score"].to_list() == [3.0, 2.0, 1.0]
        assert decisions["stage"].to_list() == [1, 2, 3]


def test_controls() -> None:
    pool = rated_pool([[5.0, 4.0, 3.0, 2.0]] * 12)
    easy = kept(Curry(), pool)
    assert kept(Curry(order="hard_first"), pool) == {pair: 4 - stage for pair, stage in easy.items()}
    assert kept(Curry(order="mixed"), pool) == dict.fromkeys(easy, 1)
    drawn = kept(Curry(order="random"), pool)
    assert set(drawn) == set(easy)
    assert drawn != easy
    assert kept(Curry(order="random", seed=1), pool) != drawn
    by_prompt = pl.DataFrame({"prompt": [each[:-4] for each in drawn], "stage": list(drawn.values())})
    assert all(sorted(stages) == [1, 2, 3] for stages in by_prompt.group_by("prompt").agg("stage")["stage"])


def test_more_and_fewer_answers_than_stages() -> None:
    many = rated_pool([[9.0, 8.0, 7.0, 6.0, 5.0, 4.0]])
    assert kept(Curry(), many) == {"q0a0a5": 1, "q0a0a3": 2, "q0a0a1": 3}
    few = rated_pool([[3.0, 2.0, 1.0], [2.0, 1.0]])
    assert kept(Curry(), few) == {}
    assert kept(Curry(incomplete="keep"), few) == {"q0a0a2": 1, "q1a0a1": 1, "q0a0a1": 3}
    assert set(Curry().select(few)["reason"].str.split(":").list.first()) == {"incomplete", "not_best"}


def test_ties_contradictions_and_pairs_across_prompts_are_left_out() -> None:
    pool = rated_pool([[5.0, 5.0, 3.0, 2.0]])
    reasons = dict(Curry(stages=2).select(pool).select("pair_id", "reason").iter_rows())
    assert reasons["q0a0a1"].startswith("no_gap") or reasons["q0a0a1"].startswith("not_best")
    assert sum(reason.startswith("selected") for reason in reasons.values()) == 2
    pairs = pl.concat([pool.pairs.head(1).with_columns(strength=-1.0), pool.pairs.tail(1)])
    across = pairs.with_columns(prompt_id=pl.Series([None, "q0"], dtype=pl.String))
    assert Curry().select(Pool(across, pool.completions))["reason"].to_list()[0].startswith("two_prompts")
    against = Curry(stages=1).select(Pool(pairs.head(1), pool.completions))
    assert against["reason"].to_list() == ["against_label: gap -1.0"]


def test_a_pair_without_a_gap_to_go_by_is_an_error() -> None:
    pool = rated_pool([[2.0, 1.0]])
    without = Pool(pool.pairs.with_columns(strength=pl.lit(None, pl.Float64)), pool.completions)
    with pytest.raises(ValueError, match="1 of 1 train pairs have no usable 'strength'"):
        Curry().select(without)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9).map(float), min_size=2, max_size=6), min_size=1, max_size=5), st.integers(1, 4)
)
def test_every_prompt_occurs_once_a_stage_from_large_gaps_to_small(ratings: list[list[float]], stages: int) -> None:
    decisions = Curry(stages=stages).select(rated_pool(ratings)).filter("selected")
    prompts = decisions.with_columns(prompt=pl.col("pair_id").str.extract(r"^(q\d+)")).sort("prompt", "stage")
    for _, part in prompts.group_by("prompt"):
        assert part["stage"].to_list() == list(range(1, stages + 1))
        assert part["score"].to_list() == sorted(part["score"], reverse=True)
        assert part["score"].min() > 0
