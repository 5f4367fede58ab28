"""PAL on two planted tastes, on one taste, and with users it meets later."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from pref_assets.heads.ballots import ballots
from pref_assets.heads.pal import Pal
from pref_assets.heads.pal_fitted import FittedPal
from pref_assets.pool import Pool
from pref_assets.scoring.logistic import fit_heads
from pref_assets_tests.heads.toys import pool_of, swapped

USERS, WIDTH, EACH = 40, 16, 60


def world(groups: int, seed: int = 0, users: int = USERS, train: int = EACH, test: int = 20) -> Pool:
    """Each user judges pairs of her own by the taste of her group; opposite tastes where there are two."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=WIDTH)
    total = users * (train + test)
    matrix = rng.normal(size=(2 * total, WIDTH))
    rows = []
    for number in range(total):
        user = number // (train + test)
        taste = truth if user % groups == 0 else -truth
        left = bool((matrix[number] - matrix[total + number]) @ taste > 0)
        sides = (number, total + number) if left else (total + number, number)
        vote = {"annotator": f"u{user:03}", "dimension": "overall", "choice": "chosen"}
        split = "train" if number % (train + test) < train else "test"
        rows.append({"chosen": sides[0], "rejected": sides[1], "votes": [vote], "split": split})
    return pool_of(matrix, rows)


def head(**settings: Any) -> Pal:
    return Pal(embeddings="e", **settings)


@cache
def fitted(groups: int, kinds: int, model: str = "B") -> FittedPal:
    return head(prototypes=kinds, model=model).fit(world(groups), world(groups).candidates())


def seen_accuracy(found: FittedPal, pool: Pool) -> float:
    test = pool.pairs.filter(split="test")
    users = test["votes"].list.first().struct.field("annotator").to_list()
    return float((found.margin(pool, test, found.weights_of(users)) > 0).mean())


def global_accuracy(pool: Pool) -> float:
    def differences(pairs: pl.DataFrame) -> np.ndarray:
        vectors = pool.embeddings["e"]
        return (vectors.rows(pairs["chosen_id"].to_list()) - vectors.rows(pairs["rejected_id"].to_list())).astype(float)

    x = differences(pool.candidates())
    w = fit_heads(x, np.ones(len(x)), np.ones((len(x), 1)), l2=1.0)[:, 0]
    return float((differences(pool.pairs.filter(split="test")) @ w > 0).mean())


def test_two_prototypes_find_two_opposite_groups() -> None:
    pool, found = world(2), fitted(2, 2)
    assert seen_accuracy(found, pool) > 0.93
    weights = found.user_weights()
    assert weights.select(pl.sum_horizontal(pl.exclude("user"))).to_series().to_list() == pytest.approx([1] * USERS)
    group = weights["user"].str.slice(1).cast(pl.Int64) % 2
    split = (weights["w_1"] > 0.5).cast(pl.Int64)
    assert max((split == group).mean(), (split != group).mean()) > 0.95
    assert seen_accuracy(fitted(2, 1), pool) == pytest.approx(global_accuracy(pool), abs=0.01)
    assert global_accuracy(pool) < 0.7


def test_ideal_points_find_them_too() -> None:
    assert seen_accuracy(fitted(2, 2, "A"), world(2)) > 0.9


def test_one_prototype_is_bradley_terry_on_votes() -> None:
    pool = world(2)
    vectors, train = pool.embeddings["e"], pool.candidates()
    x = vectors.rows(train["chosen_id"].to_list()) - vectors.rows(train["rejected_id"].to_list())
    w = fit_heads(x.astype(float), np.ones(len(x)), np.ones((len(x), 1)), l2=1.0)[:, 0]
    assert fitted(2, 1).parameters["rewards"][0] == pytest.approx(w, abs=1e-5)


def test_where_all_agree_a_second_prototype_gains_nothing() -> None:
    pool = world(1)
    one, two = (seen_accuracy(fitted(1, kinds), pool) for kinds in (1, 2))
    assert one == pytest.approx(global_accuracy(pool), abs=0.01)
    assert two - one <= 0.01


def test_a_new_user_is_known_from_few_pairs() -> None:
    found = fitted(2, 2)
    before = {name: each.copy() for name, each in found.parameters.items()}
    strangers = world(2, seed=0, users=USERS)
    rng = np.random.default_rng(9)
    truth = np.random.default_rng(0).normal(size=WIDTH)
    matrix = rng.normal(size=(400, WIDTH))
    accuracy = []
    for shots in (0, 2, 20):
        right = []
        for number, sign in enumerate([1, -1] * 5):
            left = (matrix[:200] - matrix[200:]) @ (sign * truth) > 0
            rows = [
                {"chosen": i if left[i] else 200 + i, "rejected": 200 + i if left[i] else i,
                 "votes": [{"annotator": "new", "dimension": "overall", "choice": "chosen"}]}
                for i in range(200)
            ]  # fmt: skip
            pool = pool_of(matrix, rows)
            mine = pool.pairs[number * 20 : number * 20 + shots]
            weights = found.learn_user(pool, mine, "new") if shots else found.population()
            margin = found.margin(pool, pool.pairs, np.tile(weights, (200, 1)))
            right.append((margin > 0).mean())
        accuracy.append(np.mean(right))
    assert accuracy[0] < 0.65
    assert accuracy[1] > 0.8
    assert accuracy[2] > 0.93
    assert all(np.array_equal(before[name], found.parameters[name]) for name in before)
    with pytest.raises(ValueError, match="has a vote of user 'nobody'"):
        found.learn_user(strangers, strangers.pairs, "nobody")


@pytest.mark.parametrize("model", ["A", "B"])
def test_prototypes_have_no_order(model: str) -> None:
    pool, found = world(2), fitted(2, 2, model)
    turned = {
        name: each[::-1] if name in ("rewards", "prototypes", "mix") else each[:, ::-1] if name == "users" else each
        for name, each in found.parameters.items()
    }
    there, back = (each.predict(pool, pool.pairs[:50]) for each in (found, replace(found, parameters=turned)))
    assert there.margin == pytest.approx(back.margin, abs=1e-9)
    assert there.uncertainty == pytest.approx(back.uncertainty, abs=1e-9)
    for name in ("voters", "opposed"):
        assert there.details[name] == pytest.approx(back.details[name], abs=1e-9)


@pytest.mark.parametrize("settings", [{"model": "A"}, {"rank": 3}, {"by": "voters"}, {"balance_users": True}])
def test_margins_flip_with_the_sides_and_rewards_add_up(settings: dict[str, Any]) -> None:
    pool = world(2, users=6, train=10, test=0)
    method = head(max_steps=15, starts=1, **settings)
    found = method.fit(pool, pool.pairs)
    there, back = found.predict(pool, pool.pairs), found.predict(pool, swapped(pool.pairs))
    assert there.margin == pytest.approx(-back.margin, abs=1e-9)
    if there.score_chosen is not None and there.score_rejected is not None:
        assert there.margin == pytest.approx(there.score_chosen - there.score_rejected, abs=1e-9)
    again = method.restore(found.arrays())
    assert np.array_equal(again.predict(pool, pool.pairs).margin, there.margin)
    assert again.users == found.users == [f"u{i:03}" for i in range(6)]


def test_voters_of_a_pair_speak_for_it() -> None:
    pool, found = world(2), fitted(2, 2)
    said = found.predict(pool, pool.pairs.filter(split="test"))
    assert (said.details["voters"] > 0).mean() > 0.93
    silent = pool.pairs[:5].with_columns(votes=pl.lit([]).cast(pool.pairs["votes"].dtype))
    quiet = found.predict(pool, silent)
    assert np.array_equal(quiet.details["voters"], quiet.margin)


def test_ballots_by_hand() -> None:
    votes = [("b", "overall", "rejected"), ("a", "overall", "tie"), ("a", "style", "chosen")]
    rows = [{"annotator": a, "dimension": d, "choice": c} for a, d, c in votes]
    pool = pool_of(
        np.eye(4), [{"chosen": 0, "rejected": 1, "votes": rows}, {"chosen": 2, "rejected": 3, "votes": rows[:1]}]
    )
    found = ballots(pool.pairs, "overall")
    assert found.users == ["a", "b"]
    assert (found.pair.tolist(), found.user.tolist(), found.label.tolist()) == ([0, 0, 1], [0, 1, 1], [0.5, 0, 0])
    assert ballots(pool.pairs).label.tolist() == [0.5, 1, 0, 0]
    by_source = ballots(pool.pairs.with_columns(p_chosen=pl.Series([0.7, 1.0])), voter="source")
    assert (by_source.users, by_source.label.tolist()) == (["unknown"], [0.7, 1.0])
    with pytest.raises(ValueError, match=r"vote on dimension 'taste'; dimensions with votes: \['overall', 'style'\]"):
        ballots(pool.pairs, "taste")
