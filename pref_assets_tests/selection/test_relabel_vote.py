"""Votes that turn labels around: the rule's odds, abstentions, annotators."""

from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.selection import Budget, RelabelVote
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool

JUDGES = ("a", "b", "c", "d")


def pool_of(votes, held_out=0):
    """Pair i has these numbers in the score entries a, b, …."""
    pool = make_pool([0.0] * len(votes), held_out=held_out)
    tables = {
        name: PAIR_SCORES.frame({"pair_id": f"p{i:03}", "score": row[k]} for i, row in enumerate(votes))
        for k, name in enumerate(JUDGES[: len(votes[0])])
    }
    return replace(pool, scores=tables)


def outcome(decisions):
    """`flip`, `keep` or `drop` of every pair."""
    flipped = pl.col("p_chosen").fill_null(1) < 0.5
    word = (
        pl.when(~pl.col("selected")).then(pl.lit("drop")).when(flipped).then(pl.lit("flip")).otherwise(pl.lit("keep"))
    )
    return decisions.select(word.alias("w"))["w"].to_list()


def test_three_of_four_turn_a_label_around():
    votes = [(-1, -1, -1, -1), (-1, -1, -1, 1), (-1, -1, 1, 1), (-1, 1, 1, 1)]
    decisions = RelabelVote(scores=JUDGES).select(pool_of(votes))
    assert outcome(decisions) == ["flip", "flip", "keep", "keep"]
    assert decisions["reason"].to_list() == [
        "flipped_label: 4 of 4 votes against, 0 for",
        "flipped_label: 3 of 4 votes against, 1 for",
        "selected: 2 of 4 votes against, 2 for",
        "selected: 1 of 4 votes against, 3 for",
    ]
    assert decisions["score"].to_list() == [-1.0, -0.5, 0.0, 0.5]


@pytest.mark.parametrize(("reliability_against", "expected"), [(0.85, 0.8905), (0.15, 0.0120)])
def test_odds_of_a_flip_with_four_voters_that_are_right_85_times_of_100(reliability_against, expected):
    """The first of an inverted pair, the second of a good one."""
    votes = list(product((-1.0, 1.0), repeat=4))
    decisions = RelabelVote(scores=JUDGES).select(pool_of(votes))
    odds = [np.prod([reliability_against if v < 0 else 1 - reliability_against for v in row]) for row in votes]
    flipped = [each == "flip" for each in outcome(decisions)]
    assert sum(p for p, f in zip(odds, flipped, strict=True) if f) == pytest.approx(expected, abs=5e-5)


def test_undecided_pairs_go_or_stay():
    pool = pool_of([(-1, -1, 1), (-1, -1, -1), (-1, 1, 1)])
    settings = {"scores": JUDGES[:3], "keep_from": 0.6}
    assert outcome(RelabelVote(**settings).select(pool)) == ["drop", "flip", "keep"]
    assert outcome(RelabelVote(**settings, undecided="keep").select(pool)) == ["keep", "flip", "keep"]
    assert RelabelVote(**settings).select(pool)["reason"][0] == "undecided: 2 of 3 votes against, 1 for"


def test_abstentions_count_among_the_voters_and_support_nobody():
    votes = [(-1, -1, -1, None), (-1, -1, 0.0, None), (None, None, None, None)]
    decisions = RelabelVote(scores=JUDGES).select(pool_of(votes))
    assert outcome(decisions) == ["flip", "drop", "drop"]
    probable = RelabelVote(scores=JUDGES, neutral=-2.0).select(pool_of([(-1, -1, -1, -1)]))
    assert outcome(probable) == ["keep"]


def test_labels_as_shares_of_the_votes():
    decisions = RelabelVote(scores=JUDGES, label="share").select(pool_of([(-1, -1, -1, 1), (-1, 1, 1, None)]))
    assert decisions["p_chosen"].to_list() == pytest.approx([0.25, 2 / 3])


def test_soft_votes_are_mirrored_and_ties_stay():
    pool = pool_of([(-1,) * 4, (-1,) * 4])
    labels = pl.when(pl.col("pair_id") == "p000").then(0.8).otherwise(0.5)
    decisions = RelabelVote(scores=JUDGES).select(replace(pool, pairs=pool.pairs.with_columns(p_chosen=labels)))
    assert decisions["p_chosen"].to_list() == [pytest.approx(0.2), None]
    assert decisions["reason"][1] == "selected: a tie, nothing to vote on"


def with_votes(pool, votes):
    """Pair i has these (choice, dimension)."""
    column = [[{"annotator": str(k), "choice": c, "dimension": d} for k, (c, d) in enumerate(row)] for row in votes]
    return replace(
        pool, pairs=pool.pairs.sort("pair_id").with_columns(votes=pl.Series(column, dtype=pool.pairs.schema["votes"]))
    )


def test_annotators_vote_beside_scores():
    no, yes, other = ("rejected", "overall"), ("chosen", "overall"), ("rejected", "helpfulness")
    pool = with_votes(pool_of([(-1,), (-1,), (1,)]), [[no, no, yes], [yes, other, ("tie", "overall")], []])
    decisions = RelabelVote(scores=("a",), annotators=True).select(pool)
    assert outcome(decisions) == ["flip", "drop", "keep"]
    assert decisions["reason"][1] == "undecided: 1 of 3 votes against, 1 for"
    with pytest.raises(ValueError, match=r"1 of 3 train pairs have no vote on 'overall', e\.g\. \['p002'\]"):
        RelabelVote(annotators=True).select(pool)


def test_settings_that_decide_nothing_are_refused():
    with pytest.raises(ValidationError, match="nobody votes"):
        RelabelVote()
    with pytest.raises(ValidationError, match=r"scores \['a'\] vote twice"):
        RelabelVote(scores=("a", "a"))
    with pytest.raises(ValidationError, match="can both be reached"):
        RelabelVote(scores=("a",), keep_from=0.2)
    assert [ref.name for ref in RelabelVote(scores=("a", "b")).references()] == ["a", "b"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_missing_and_infinite_scores_are_errors(bad):
    with pytest.raises(
        ValueError, match=r"1 of 2 train pairs have no row, or a NaN .* in scores 'b', e\.g\. \['p001'\]"
    ):
        RelabelVote(scores=("a", "b")).select(pool_of([(1, 1), (1, bad)]))
    pool = pool_of([(1, 1), (1, 1)])
    fewer = replace(pool, scores={**pool.scores, "b": pool.scores["b"].head(1)})
    with pytest.raises(ValueError, match=r"1 of 2 train pairs have no row"):
        RelabelVote(scores=("a", "b")).select(fewer)


@pytest.mark.parametrize("budget", [None, Budget(count=9)])
@pytest.mark.parametrize("settings", [{}, {"label": "share"}, {"undecided": "keep"}])
def test_promises(budget, settings):
    rng = np.random.default_rng(0)
    votes = rng.choice([-1.0, 0.0, 1.0], size=(50, 4)).tolist()
    assert_promises(RelabelVote(scores=JUDGES, budget=budget, **settings), pool_of(votes, held_out=2))
