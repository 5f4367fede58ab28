"""The constitution: what the card says of planted labels, and votes of a server."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import TypeAdapter

from pref_assets.pool import Pool
from pref_assets.scoring import PrincipleVotes, ScorerConfig
from pref_assets.scoring.judging.principles import constitution, unanimous
from pref_assets_tests.scoring.judging.server import details, endpoint, scored, serving, text_pool
from pref_assets_tests.selection.invariants import shuffled

VOTERS = {
    "shorter": {"type": "trait", "trait": "characters", "prefer": "less"},
    "longer": {"type": "trait", "trait": "characters"},
    "bullets": {"type": "trait", "trait": "lists"},
    "refuses": {"type": "trait", "trait": "refusal"},
    "polite": {"type": "trait", "trait": "politeness"},
    "asks": {"type": "trait", "trait": "ends_with_question"},
    "shouts": {"type": "trait", "trait": "exclamations"},
    "rare": {"type": "pattern", "pattern": "zebra"},
}


def principles(voters: dict[str, Any], **more: Any) -> PrincipleVotes:
    return TypeAdapter(ScorerConfig).validate_python({"type": "principle_votes", "voters": voters, **more})


def shorter_wins(n: int = 200, noise: float = 0.1, flip: bool = False) -> list[tuple[str, str]]:
    """Pairs in which the shorter answer is chosen but for a share; the other traits are noise, `zebra` is in 5 %."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        extra = [" Please!", "\n- one\n- two", " Sorry, I can't help with that.", " Right?"]
        short, long = (" ".join(["word"] * int(k)) + extra[rng.integers(4)] for k in (rng.integers(5, 9), 40 + i % 7))
        if i % 20 == 0:
            short += " zebra"
        wrong = (i % 10 < round(10 * noise)) != flip
        rows.append((long, short) if wrong else (short, long))
    return rows


def told(scores: pl.DataFrame, what: str) -> dict[str, float | None]:
    return {name: details(scores, f"{what}_{name}")[0] for name in VOTERS}


def test_the_principle_behind_the_labels_takes_the_first_rank() -> None:
    scores, counted = scored(principles(VOTERS), text_pool(shorter_wins()))
    assert counted == {}
    rank, accuracy, relevance = (told(scores, what) for what in ("rank", "accuracy", "relevance"))
    assert rank["shorter"] == 1
    assert accuracy["shorter"] == pytest.approx(0.9, abs=0.03)
    assert rank["longer"] is None
    assert accuracy["longer"] == pytest.approx(0.1, abs=0.03)
    # On 5 % of the pairs and mostly right, yet below the 10 % rule.
    assert relevance["rare"] is not None
    assert relevance["rare"] <= 0.05
    assert rank["rare"] is None


def test_flipped_labels_turn_the_constitution_round() -> None:
    scores, _ = scored(principles(VOTERS), text_pool(shorter_wins(flip=True)))
    rank, accuracy = told(scores, "rank"), told(scores, "accuracy")
    assert rank["longer"] == 1
    assert rank["shorter"] is None
    assert accuracy["longer"] == pytest.approx(0.9, abs=0.03)


def test_filter_rank_and_cap_by_hand() -> None:
    table = pl.DataFrame(
        {
            "pair_id": [f"p{i}" for i in range(10)],
            "b_best": [1] * 8 + [-1] * 2,  # leads by 6
            "a_same": [1] * 7 + [-1] + [0] * 2,  # leads by 6 too: by name before b_best
            "even": [1] * 5 + [-1] * 5,
            "rare": [1] + [0] * 9,  # for on 10 %: just enough
            "invalid": [1] * 5 + [None] * 5,  # as many invalid as valid
        },
        schema={"pair_id": pl.String, **dict.fromkeys(("b_best", "a_same", "even", "rare", "invalid"), pl.Int8)},
    )
    ids = table["pair_id"].to_list()
    found = constitution(table, ids, 0.1, 10)
    assert dict(found.select("name", "rank").iter_rows()) == {
        "a_same": 1,
        "b_best": 2,
        "rare": 3,
        "even": None,
        "invalid": None,
    }
    assert found.filter(pl.col("name") == "a_same").rows()[0] == ("a_same", 7, 1, 2, 0, 7 / 8, 0.7, 1)
    assert constitution(table, ids, 0.11, 10)["rank"].count() == 2
    assert constitution(table, ids, 0.1, 1)["rank"].count() == 1
    assert constitution(table, [], 0.1, 10).is_empty()


def test_score_is_the_share_of_the_constitution_for_the_chosen_answer() -> None:
    rows = [("x y", "")] * 6 + [("x", "y"), ("", "x y"), ("", "")]
    pool = text_pool(rows, splits=["train"] * 6 + ["validation"] * 3)
    scores, _ = scored(principles({name: {"type": "pattern", "pattern": name} for name in "xy"}), pool)
    assert scores["score"].to_list() == [1.0] * 6 + [0.5, 0.0, 0.5]
    assert scores["category"].to_list() == ["chosen"] * 6 + ["split", "rejected", "none_applies"]
    assert details(scores, "votes_for")[-3:] == [1, 0, 0]
    assert_frame_equal(
        scored(principles({n: {"type": "pattern", "pattern": n} for n in "xy"}), shuffled(pool, 1))[0], scores
    )


def test_unanimity() -> None:
    assert [unanimous(each) for each in ([1, 1, 1], [1, -1, 1], [0, 0, 0], [1, 1, None], [-1])] == [1, 0, 0, None, -1]
    # A voter right on 90 % is unanimous over three seeds with probability .9³ + .1³.
    draws = np.where(np.random.default_rng(0).random((20_000, 3)) < 0.9, 1, -1).tolist()
    assert np.mean([unanimous(each) != 0 for each in draws]) == pytest.approx(0.730, abs=0.012)


def test_held_out_pairs_and_ties_choose_nothing() -> None:
    rows = [("x", "")] * 3 + [("", "x")] * 6
    splits = ["train"] * 6 + ["test"] * 3
    pool = text_pool(rows, splits=splits, p_chosen=[1.0] * 3 + [0.5] * 3 + [1.0] * 3)
    scores, _ = scored(principles({"x": {"type": "pattern", "pattern": "x"}}), pool)
    assert details(scores, "accuracy_x") == [1.0] * 9
    assert scores["score"].to_list() == [1.0] * 3 + [0.0] * 6


def test_labels_that_nothing_explains_are_an_error_that_says_how_each_did() -> None:
    voters = {"x": {"type": "pattern", "pattern": "x"}}
    with pytest.raises(ValueError, match=r"no principle explains the labels of 2 pairs \(for:against x 0:2\)"):
        scored(principles(voters), text_pool([("", "x")] * 2))
    with pytest.raises(ValueError, match="no train pair has a label"):
        scored(principles(voters), text_pool([("x", "")], p_chosen=[0.5]))


ASKED = {
    "kind": {"type": "asked", "text": "Favour kindness."},
    "brief": {"type": "asked", "text": "Favour brevity."},
    "wild": {"type": "asked", "text": "Favour wildness."},
    "x": {"type": "pattern", "pattern": "x"},
}


def by_text(question: str, number: int) -> str:
    """Votes for the answer with the word, `brief` for the shorter one, `wild` for whatever is shown first."""
    a = question.split("<answer_a>\n")[1].split("\n</answer_a>")[0]
    b = question.split("<answer_b>\n")[1].split("\n</answer_b>")[0]
    said = {
        "Favour kindness.": "A" if "kind" in a else "B" if "kind" in b else "neither",
        "Favour brevity.": "A" if len(a) < len(b) else "B",
        "Favour wildness.": "A",
    }
    lines = question.split("Principles:\n")[1].split("\n\n")[0].splitlines()
    return "\n".join(f"{number}: {said[text]}" for number, text in (line.split(". ", 1) for line in lines))


@pytest.mark.parametrize(("per_question", "requests"), [(40, 12 * 3), (2, 2 * 12 * 3)])
def test_a_server_votes_on_many_principles_at_once(per_question: int, requests: int) -> None:
    rows = [("kind of long answer x", "rude"), ("so kind", "rude and long"), ("plain text", "plain longer text")] * 4
    pool = text_pool(rows)
    with serving(by_text) as fake:
        scorer = principles(ASKED, endpoint=endpoint(fake.url), per_question=per_question)
        scores, counted = scored(scorer, pool)
    assert counted["requests"] == requests
    assert len({body["seed"] for body in fake.bodies}) == 3
    assert details(scores, "vote_kind") == [1, 1, 0] * 4
    assert details(scores, "vote_brief") == [-1, 1, 1] * 4
    assert details(scores, "vote_x") == [1, 0, 0] * 4
    # Its votes follow the order, which the repeats draw anew: unanimous only where all three drew the same.
    wild = details(scores, "vote_wild")
    assert 0 in wild
    assert scores["score"].null_count() == 0


def test_unreadable_votes_are_invalid_and_nothing_else_has_no_score() -> None:
    def says(question: str, number: int) -> str:
        return "hm" if "Request 3" in question else by_text(question, number)

    pool = text_pool([("kind", "rude"), ("so kind", "rude"), ("kindly", "rude"), ("kind", "rude")])
    prompts = pool.prompts.with_columns(
        images=pl.when(pl.col("prompt_id") == "q001").then(pl.lit(["a.png"])).otherwise("images")
    )
    with serving(says) as fake:
        scorer = principles({"kind": ASKED["kind"]}, endpoint=endpoint(fake.url), repeats=2)
        scores, counted = scored(scorer, Pool(pool.pairs, pool.completions, prompts=prompts))
    assert counted["unparsable"] == 2
    assert scores["category"].to_list() == ["chosen", "images", "chosen", "unparsable"]
    assert scores["score"].to_list() == [1.0, 0.5, 1.0, None]
    assert details(scores, "vote_kind") == [1, 0, 1, None]
