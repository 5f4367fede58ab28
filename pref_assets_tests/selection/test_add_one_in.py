"""Growth by choices: equal to greedy and to random at its ends, within 1 - 1/e, and asked of a server."""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from pref_assets.features.store import Store
from pref_assets.pool import Pool, Vectors, seeded_hash
from pref_assets.scoring.judging.client import ServerError
from pref_assets.selection import AddOneIn, Random, SelectorConfig
from pref_assets.selection.one_in_judges import unit_vectors
from pref_assets_tests.scoring.judging.server import Reply, endpoint, serving, text_pool
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool, selected

FACILITY = {"type": "facility_location", "embeddings": "minilm"}
NOVELTY = {"type": "quality_novelty", "embeddings": "minilm", "quality": "strength"}


def add_one_in(judge: dict[str, Any], **more: Any) -> AddOneIn:
    return TypeAdapter(SelectorConfig).validate_python({"type": "add_one_in", "judge": judge, **more})


def covered(similar: np.ndarray, rows: list[int]) -> float:
    return float(similar[:, rows].max(axis=1).sum())


def similarity(pool: Pool) -> np.ndarray:
    unit = unit_vectors(pool, "minilm", pool.candidates()["pair_id"].to_list()).astype(np.float64)
    return (1 + unit @ unit.T) / 2


@pytest.mark.parametrize("judge", [FACILITY, NOVELTY], ids=lambda judge: judge["type"])
@pytest.mark.parametrize(
    ("n", "held_out", "budget", "n_options"), [(30, 4, 7, 5), (30, 0, "100%", 3), (1, 2, 1, 5), (0, 2, "50%", 2)]
)
def test_promises(judge: dict[str, Any], n: int, held_out: int, budget: int | str, n_options: int) -> None:
    pool = make_pool([float(i % 5) for i in range(n)], held_out)
    for seed in (0, 1):
        assert_promises(add_one_in(judge, budget=budget, n_options=n_options, seed=seed), pool)


def test_shown_everything_it_is_the_greedy_algorithm_and_near_the_best() -> None:
    for trial in range(5):
        pool = make_pool([0.0] * 12, vectors=np.random.default_rng(trial).normal(size=(12, 5)))
        similar = similarity(pool)
        ids = pool.candidates()["pair_id"].to_list()
        greedy: list[int] = []
        for _ in range(4):
            rest = [row for row in range(12) if row not in greedy]
            greedy.append(max(rest, key=lambda row: covered(similar, [*greedy, row])))
        kept = [ids.index(each) for each in selected(add_one_in(FACILITY, budget=4, n_options=12).select(pool))]
        assert kept == greedy
        best = max(covered(similar, list(rows)) for rows in combinations(range(12), 4))
        assert covered(similar, kept) >= (1 - 1 / np.e) * best


def test_with_one_option_it_is_random_of_the_same_seed() -> None:
    pool = make_pool([0.0] * 25, held_out=3)
    for seed in range(3):
        for judge in (FACILITY, NOVELTY):
            method = add_one_in(judge, budget=9, n_options=1, seed=seed)
            assert selected(method.select(pool)) == selected(Random(budget=9, seed=seed).select(pool))


def test_quality_and_novelty_by_hand() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    pool = make_pool([4.0, 3.0, 2.0, 1.0], vectors=vectors)
    # p000 first: quality 1, nothing in. Then p001 .75 + 0, p002 .5 + 1, p003 .25 + 2.
    assert selected(add_one_in(NOVELTY, budget=4, n_options=4).select(pool)) == ["p000", "p003", "p002", "p001"]
    alone = add_one_in({**NOVELTY, "novelty": 0}, budget=4, n_options=4)
    assert selected(alone.select(pool)) == ["p000", "p001", "p002", "p003"]


def test_reasons_and_turns() -> None:
    pool = make_pool([3.0, 2.0, 1.0, 0.0, -1.0])
    decisions = add_one_in({**NOVELTY, "novelty": 0}, budget=1, n_options=3).select(pool)
    ids = [f"p{i:03}" for i in range(5)]
    queue = [ids[row] for row in np.argsort(seeded_hash(ids, 0, "random").to_numpy())]
    reasons = dict(decisions.select("pair_id", "reason").iter_rows())
    assert selected(decisions) == [min(queue[:3])]
    assert reasons[min(queue[:3])].startswith("chosen: round 1 among 3, quality")
    assert {reasons[each] for each in queue[:3] if each != min(queue[:3])} == {"turned_down: shown 1 times"}
    assert {reasons[each] for each in queue[3:]} == {"not_shown"}


def test_equal_vectors_and_equal_scores_are_ordered_by_the_seed() -> None:
    pool = make_pool([1.0] * 20, vectors=np.ones((20, 3)))
    for judge in (FACILITY, NOVELTY):
        orders = {tuple(selected(add_one_in(judge, budget=5, n_options=20, seed=s).select(pool))) for s in range(4)}
        assert len(orders) == 4


def test_a_budget_in_tokens_is_kept_to_and_used_up() -> None:
    pool = make_pool([0.0] * 20)
    ids = [f"{side}{i:03}" for side in "cr" for i in range(20)]
    lengths = np.array([10 + 7 * (i % 6) for i in range(20)] * 2, dtype=np.int64)
    vectors = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    pool = Pool(pool.pairs, pool.completions, pool.scores, {"minilm": Vectors(ids, vectors, lengths)})
    method = add_one_in(FACILITY, budget="300 tokens", counted_by="minilm", n_options=4)
    decisions = assert_promises(method, pool)
    cost = {f"p{i:03}": 2 * int(lengths[i]) for i in range(20)}
    spent = sum(cost[each] for each in selected(decisions))
    left = decisions.filter(~pl.col("selected"))["pair_id"]
    assert spent <= 300
    assert min(cost[each] for each in left) > 300 - spent
    assert set(decisions.filter(~pl.col("selected"))["reason"]) == {"too_long: more tokens than were left"}


@pytest.mark.parametrize("judge", [FACILITY, NOVELTY], ids=lambda judge: judge["type"])
def test_bad_inputs(judge: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="budget of 4 pairs, but only 3 candidates"):
        add_one_in(judge, budget=4).select(make_pool([1.0, 2.0, 3.0]))
    broken = np.ones((3, 2))
    broken[1, 0] = np.nan
    with pytest.raises(ValueError, match="1 embeddings hold NaN"):
        add_one_in(judge, budget=1).select(make_pool([1.0, 2.0, 3.0], vectors=broken))
    pool = make_pool([1.0, 2.0, 3.0])
    pool = Pool(pool.pairs, pool.completions, pool.scores, {"minilm": Vectors(["c000"], np.ones((1, 2), np.float32))})
    with pytest.raises(ValueError, match="2 ids have no embedding"):
        add_one_in(judge, budget=1).select(pool)
    with pytest.raises(ValidationError):
        add_one_in(judge, budget=1, n_options=0)


def test_a_missing_score_is_an_error() -> None:
    scores: list[Any] = [1.0, None, 3.0]
    with pytest.raises(ValueError, match="1 of 3 train pairs have no usable 'score'"):
        add_one_in(NOVELTY, budget=1).select(make_pool(scores, p_correct=[0.5] * 3))


def longest(question: str, number: int) -> str:
    """Chooses the candidate with the longest answer."""
    options = question.split("Candidates:\n")[1].split("\n\nWhich candidate")[0].split("\n\n")
    lengths = [len(option.split("Answer: ")[1]) for option in options]
    return f"It is rich. [[{lengths.index(max(lengths)) + 1}]]"


def test_a_server_is_asked_once_a_round_and_never_twice(tmp_path: Path) -> None:
    pool = replace(text_pool([("word " * (i + 1), "no") for i in range(24)]), store=Store(tmp_path))
    with serving(longest) as fake:
        asked = {"type": "asked", "endpoint": endpoint(fake.url), "context_size": 2}
        method = add_one_in(asked, budget=20, n_options=24)
        decisions = method.select(pool)
        assert selected(decisions) == [f"p{i:03}" for i in reversed(range(4, 24))]
        assert len(fake.bodies) == 20
        assert "In the set (3 examples" in fake.questions()[3]
        assert fake.questions()[3].split("Candidates:")[0].count("Answer:") == 2
        first = decisions.filter(pl.col("rank") == 1)["reason"].item()
        assert re.fullmatch(r"chosen: round 1 among 24, said 'It is rich\. \[\[\d+\]\]'", first)
        assert_promises(method, pool)
        assert len(fake.bodies) == 20
    assert (tmp_path / "answers").is_dir()


@pytest.mark.parametrize("said", ["both!", "[[9]]", "[[0]]", "[[1]] or [[2]]", ""])
def test_nonsense_takes_the_first_candidate_and_says_so(tmp_path: Path, said: str) -> None:
    pool = replace(text_pool([("a", "b")] * 6), store=Store(tmp_path))
    with serving(lambda question, number: said) as fake:
        method = add_one_in({"type": "asked", "endpoint": endpoint(fake.url)}, budget=2, n_options=3)
        decisions = method.select(pool)
    queue = pool.pairs.sort(by=seeded_hash(pool.pairs["pair_id"], 0, "random"))["pair_id"].to_list()
    assert selected(decisions) == [queue[0], queue[3]]
    assert set(decisions.filter("selected")["reason"].str.slice(0, 42)) == {
        "chosen: round 1 among 3, unparsable: the f",
        "chosen: round 2 among 3, unparsable: the f",
    }


def test_a_server_that_dies_is_an_error_and_what_it_said_is_kept(tmp_path: Path) -> None:
    pool = replace(text_pool([("word " * (i + 1), "no") for i in range(8)]), store=Store(tmp_path))

    def dying(question: str, number: int) -> Reply | str:
        return Reply(status=500, body="gone") if number == 3 else longest(question, number)

    with serving(dying) as fake:
        asked = {"type": "asked", "endpoint": endpoint(fake.url, retries=0)}
        method = add_one_in(asked, budget=5, n_options=4)
        with pytest.raises(ServerError, match=rf"{fake.url}.*status 500: gone"):
            method.select(pool)
        method.select(pool)
        assert len(fake.bodies) == 6  # three, the one that failed, and the two that were left


def test_a_pool_without_a_store_cannot_ask() -> None:
    method = add_one_in({"type": "asked", "endpoint": endpoint("http://localhost:1/v1")}, budget=1)
    with pytest.raises(ValueError, match="keeps its answers in a store"):
        method.select(text_pool([("a", "b")] * 3))
