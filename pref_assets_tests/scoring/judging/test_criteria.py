"""Criteria that vote: the gate, its accounts, and the numbers of the card."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from polars.testing import assert_frame_equal
from pydantic import TypeAdapter, ValidationError

from pref_assets.scoring import CriteriaVote, ScorerConfig
from pref_assets.scoring.judging.criteria import gate
from pref_assets_tests.scoring.judging.server import details, endpoint, scored, serving, text_pool
from pref_assets_tests.selection.invariants import shuffled

PLANTED = [0.85] * 3 + [0.5] * 3 + [0.15]


def criteria(voters: dict[str, Any], **more: Any) -> CriteriaVote:
    return TypeAdapter(ScorerConfig).validate_python({"type": "criteria_vote", "voters": voters, **more})


def votes(right: NDArray[np.bool_]) -> pl.DataFrame:
    """Votes of voters c0, c1, … from whether each (column) is right on each pair (row)."""
    frame = pl.DataFrame({f"c{i}": np.where(right[:, i], 1, -1).astype(np.int8) for i in range(right.shape[1])})
    return frame.select(pl.Series("pair_id", [f"p{i:05}" for i in range(len(right))]), pl.all())


def test_the_accounts_of_the_gate() -> None:
    table = pl.DataFrame(
        {
            "pair_id": [f"p{i}" for i in range(8)],
            "good": [1, 1, 1, 0, 0, 0, -1, 1],  # 4 of 5 that are not U
            "at": [1, 1, 1, -1, 0, 0, 0, 0],  # exactly .75
            "nonsense": [1, 1, 1, 1, 1, None, None, None],  # unreadable counts as wrong: 5 of 8
            "half": [1, -1, 1, -1, 1, -1, 1, -1],  # exactly .5
            "silent": [0] * 8,
        },
        schema={"pair_id": pl.String, **dict.fromkeys(("good", "at", "nonsense", "half", "silent"), pl.Int8)},
    )
    found = gate(table, [f"p{i}" for i in range(8)], 0.75, 0.5)
    assert found.rows() == [
        ("good", 0.8, 5, 3, 0, "keep"),
        ("at", 0.75, 4, 4, 0, "keep"),
        ("nonsense", 0.625, 8, 0, 3, "rewrite"),
        ("half", 0.5, 8, 0, 0, "replace"),
        ("silent", None, 0, 8, 0, "replace"),
    ]
    some = gate(table, ["p0", "p1"], 0.75, 0.5)
    assert dict(some.select("name", "accuracy").iter_rows())["half"] == 0.5


@pytest.mark.parametrize(
    ("pairs", "accuracies", "expected"),
    [(30, PLANTED, 0.799), (120, PLANTED, 0.996), (30, [0.95] * 3 + [0.5] * 3, 0.992)],
)
def test_planted_rules_come_out_as_often_as_the_binomial_says(
    pairs: int, accuracies: list[float], expected: float
) -> None:
    rng, seeds = np.random.default_rng(0), 400
    ids = [f"p{i:05}" for i in range(pairs)]
    exact = 0
    for _ in range(seeds):
        table = gate(votes(rng.random((pairs, len(accuracies))) < accuracies), ids, 0.75, 0.5)
        exact += table.filter(pl.col("status") == "keep")["name"].to_list() == ["c0", "c1", "c2"]
    error = (expected * (1 - expected) / seeds) ** 0.5
    assert abs(exact / seeds - expected) < 4 * error + 0.001


def test_three_rules_right_on_85_percent_are_right_together_on_94() -> None:
    right = np.random.default_rng(1).random((4000, 7)) < PLANTED
    marks = [f"m{i}" for i in range(7)]
    rows = [
        (
            " ".join(m for m, yes in zip(marks, row, strict=True) if yes),
            " ".join(m for m, yes in zip(marks, row, strict=True) if not yes),
        )
        for row in right
    ]
    pool = text_pool(rows)
    scorer = criteria({m: {"type": "pattern", "pattern": m} for m in marks})
    scores, _ = scored(scorer, pool)
    gated = {m: details(scores, f"gate_{m}")[0] for m in marks}
    assert [m for m, accuracy in gated.items() if accuracy is not None and accuracy >= 0.75] == ["m0", "m1", "m2"]
    assert (scores["category"] == "chosen").mean() == pytest.approx(0.939, abs=0.015)
    hand = np.where(right[:, :3], 1, -1).sum(axis=1) / 3
    np.testing.assert_allclose(scores["score"], hand)
    # Scores stay with their ids whatever the order of the rows (the original's did not).
    assert_frame_equal(scored(scorer, shuffled(pool, 3))[0], scores)


def test_votes_and_margin_by_hand() -> None:
    rows = [("x y z", ""), ("x y", "z"), ("x", "y z"), ("", "x y z"), ("x", "y"), ("", "")]
    voters = {name: {"type": "pattern", "pattern": name} for name in "xyz"}
    settings = {"gate_pairs": 1, "keep_at": 0.01, "replace_at": 0.0}
    pool = text_pool(rows, splits=["train"] + ["validation"] * 5)
    scores, counted = scored(criteria(voters, **settings), pool)
    assert counted == {}
    np.testing.assert_allclose(scores["score"], [1, 1 / 3, -1 / 3, -1, 0, 0])
    assert scores["category"].to_list() == ["chosen", "chosen", "rejected", "rejected", "undecided", "undecided"]
    assert details(scores, "votes_for") == [3, 2, 1, 0, 1, 0]
    assert details(scores, "votes_against") == [0, 1, 2, 3, 1, 0]
    assert details(scores, "unsure") == [0, 0, 0, 0, 1, 3]
    assert details(scores, "vote_z") == [1, -1, -1, -1, 0, 0]
    margin, _ = scored(criteria(voters, margin=1, **settings), pool)
    assert margin["category"].to_list() == ["chosen", *["undecided"] * 2, "rejected", "undecided", "undecided"]


def test_a_pool_where_no_criterion_is_any_good_is_an_error_that_says_how_each_did() -> None:
    pool = text_pool([("", "x")] * 4)
    scorer = criteria(
        {"x": {"type": "pattern", "pattern": "x"}, "y": {"type": "pattern", "pattern": "y"}}, gate_pairs=4
    )
    with pytest.raises(ValueError, match=r"no criterion is right on 75% of 4 labelled pairs \(x 0\.000, y none\)"):
        scored(scorer, pool)


def test_the_gate_wants_labelled_train_pairs() -> None:
    pool = text_pool([("x", "")] * 5, splits=["train"] * 3 + ["test"] * 2, p_chosen=[1.0, 1.0, 0.5, 1.0, 1.0])
    scorer = criteria({"x": {"type": "pattern", "pattern": "x"}}, gate_pairs=3)
    with pytest.raises(ValueError, match="the gate needs 3 labelled train pairs, but there are only 2"):
        scored(scorer, pool)


def test_thresholds_have_an_order() -> None:
    with pytest.raises(ValidationError, match=r"`replace_at` \(0\.8\) has to be below `keep_at` \(0\.75\)"):
        criteria({"x": {"type": "pattern", "pattern": "x"}}, replace_at=0.8)


def test_a_server_votes_beside_rules() -> None:
    def says(question: str, number: int) -> str:
        if "cheerful" in question:
            return "no idea"
        first = question.split("<answer_a>\n")[1].split("\n</answer_a>")[0]
        return "[[U]]" if "eh?" in question else "[[A]]" if "kind" in first else "[[B]]"

    rows = [("kind a", "rude"), ("kind bb", "rude"), ("rude ccc", "kind"), ("eh?", "ah")] * 3
    voters = {
        "kinder": {"type": "asked", "text": "Favour the kinder answer."},
        "cheerful": {"type": "asked", "text": "Favour the more cheerful answer."},
        "longer": {"type": "trait", "trait": "characters"},
    }
    with serving(says) as fake:
        scorer = criteria(voters, endpoint=endpoint(fake.url), gate_pairs=12, keep_at=0.6)
        scores, counted = scored(scorer, text_pool(rows))
    assert counted["requests"] == 24
    assert counted["unparsable"] == 12
    # kinder: right on 6 of the 9 it decides; cheerful: unreadable, 0 of 12; longer: right on all.
    assert details(scores, "gate_kinder")[0] == pytest.approx(6 / 9)
    assert details(scores, "gate_cheerful")[0] == 0
    assert details(scores, "gate_longer")[0] == pytest.approx(1.0)
    assert scores["score"].to_list() == [1.0, 1.0, 0.0, 0.5] * 3
    assert details(scores, "vote_cheerful") == [None] * 12


def test_pairs_that_cannot_be_asked_about_abstain_and_nonsense_alone_has_no_score() -> None:
    pool = text_pool([("kind", "rude")] * 3)
    prompts = pool.prompts.with_columns(
        images=pl.when(pl.col("prompt_id") == "q001").then(pl.lit(["a.png"])).otherwise("images")
    )
    pool = type(pool)(pool.pairs, pool.completions, prompts=prompts)

    def says(question: str, number: int) -> str:
        if "Request 2" in question:
            return "who knows"
        return "[[A]]" if "kind" in question.split("<answer_a>")[1].split("</answer_a>")[0] else "[[B]]"

    with serving(says) as fake:
        scorer = criteria(
            {"kinder": {"type": "asked", "text": "Favour the kinder."}},
            endpoint=endpoint(fake.url),
            gate_pairs=3,
            keep_at=0.5,
            replace_at=0.1,
        )
        scores, _ = scored(scorer, pool)
    assert details(scores, "gate_kinder") == [0.5] * 3  # one right, one unreadable, one abstained
    assert scores["score"].to_list() == [1.0, 0.0, None]
    assert scores["category"].to_list() == ["chosen", "images", "unparsable"]
