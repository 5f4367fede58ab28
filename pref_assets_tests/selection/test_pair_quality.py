"""Plain faults of pairs: each flag by hand, and all planted ones found."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.pairs.schema import COMPLETIONS
from pref_assets.selection import Budget, PairQuality
from pref_assets_tests.selection.invariants import assert_promises
from pref_assets_tests.selection.pools import make_pool

ALL = ["empty", "identical", "prefix_of", "truncated", "both_toxic", "near_tie"]


def pool_of(texts, held_out=0, p_correct=None):
    """Pair i has the chosen and rejected texts of row i."""
    pool = make_pool([1.0] * (len(texts) - held_out), held_out=held_out, p_correct=p_correct)
    rows = [
        {
            "completion_id": f"{side}{i:03}",
            "prompt_id": f"q{i:03}",
            "messages": [{"role": "assistant", "content": text}],
        }
        for i, row in enumerate(texts)
        for side, text in zip("cr", row, strict=True)
    ]
    return replace(pool, completions=COMPLETIONS.frame(rows))


def flags_of(texts, flags=ALL, **settings):
    method = PairQuality(flags=dict.fromkeys(flags, "drop"), **settings)
    found = method.flagged(pool_of(texts))
    return [{flag for flag in flags if row[flag]} for row in found.iter_rows(named=True)]


LONG = "and so it goes on and on until there are more than twenty words in it which takes a while to"


def test_flags_by_hand():
    texts = [
        ("Paris.", "Lyon."),
        ("Paris.", " \n"),
        ("Paris.", "  PARIS. "),
        ("Paris is it.", "Paris is"),
        ("Paris", "paris is it"),
        (LONG, "No."),
        ("No.", LONG),
        (LONG + ".", "No."),
        ("What the fuck.", "This is shit."),
        ("What the fuck.", "This is fine."),
        ("", ""),
    ]
    assert flags_of(texts) == [
        set(),
        {"empty"},
        {"identical"},
        {"prefix_of"},
        {"prefix_of"},
        {"truncated"},
        set(),
        set(),
        {"both_toxic"},
        set(),
        {"empty", "identical"},
    ]
    assert flags_of([("Paris, I", "No.")], truncated_words=2) == [{"truncated"}]


def test_answers_of_several_turns_are_read_without_roles():
    pool = pool_of([("a", "b")])
    turns = [{"role": "assistant", "content": ""}, {"role": "user", "content": " "}]
    messages = pl.Series([turns, turns], dtype=pool.completions.schema["messages"])
    found = PairQuality(flags={"empty": "drop"}).flagged(
        replace(pool, completions=pool.completions.with_columns(messages=messages))
    )
    assert found["empty"].to_list() == [True]


def test_near_ties_are_by_votes_and_inverted_pairs_by_scores():
    pool = pool_of([("a.", "b.")] * 4, p_correct=[0.9, 0.24, 0.26, 0.5])
    labels = pl.Series([1.0, 0.75, 0.55, 0.5])
    pool = replace(pool, pairs=pool.pairs.with_columns(p_chosen=labels))
    method = PairQuality(flags={"near_tie": "drop", "inverted_p": "drop"}, scores="strength", tie_band=0.1)
    found = method.flagged(pool)
    assert found["near_tie"].to_list() == [False, False, True, True]
    assert found["inverted_p"].to_list() == [False, True, False, False]


def test_dropping_wins_and_weights_multiply():
    flags = {"empty": "drop", "truncated": "weight", "near_tie": "weight"}
    pool = pool_of([(LONG, "No."), (LONG, ""), ("a.", "b.")])
    tied = replace(pool, pairs=pool.pairs.with_columns(p_chosen=pl.Series([0.5, 1.0, 1.0])))
    decisions = PairQuality(flags=flags).select(tied)
    assert decisions.select("selected", "weight", "reason").rows() == [
        (True, 0.25, "weighted: flags truncated, near_tie"),
        (False, 0.5, "empty: flags empty, truncated"),
        (True, 1.0, "selected: no flag"),
    ]


def planted(n=400, seed=0):
    """5 % empty, 10 % inverted, 3 % the same text on both sides, the rest sound; and which is which."""
    rng = np.random.default_rng(seed)
    words = [f"word{i}" for i in range(200)]
    texts = [tuple(f"{' '.join(rng.choice(words, 8))} {i} {side}." for side in "ab") for i in range(n)]
    kind = rng.permutation(
        np.repeat(
            ["empty", "inverted_p", "identical", "sound"],
            [n // 20, n // 10, 3 * n // 100, n - n // 20 - n // 10 - 3 * n // 100],
        )
    )
    for i, (each, (a, b)) in enumerate(zip(kind, texts, strict=True)):
        if each == "empty":
            texts[i] = (a, "") if i % 2 else ("", b)
        if each == "identical":
            texts[i] = (a, a.upper())
    p_correct = np.where(kind == "inverted_p", 0.05, 0.9).tolist()
    return pool_of(texts, p_correct=p_correct), kind


def test_every_planted_fault_is_found_and_nothing_else():
    pool, kind = planted()
    flags = dict.fromkeys([*ALL, "inverted_p"], "drop")
    method = PairQuality(flags=flags, scores="strength")
    found = method.flagged(pool)
    for flag in ("empty", "identical", "inverted_p"):
        assert (found[flag].to_numpy() == (kind == flag)).all()
    assert (method.select(pool)["selected"].to_numpy() == (kind == "sound")).all()


@pytest.mark.parametrize("budget", [None, Budget(count=50), Budget(fraction=0.25)])
def test_promises(budget):
    pool, _ = planted(n=100)
    pool = replace(pool, pairs=pool.pairs.with_columns(split=pl.Series(["test"] * 3 + ["train"] * 97)))
    assert_promises(PairQuality(budget=budget), pool)


def test_bad_settings_and_missing_texts_are_errors():
    with pytest.raises(ValidationError, match="`inverted_p` among the flags and `scores` go together"):
        PairQuality(flags={"inverted_p": "drop"})
    with pytest.raises(ValidationError, match="go together"):
        PairQuality(scores="strength")
    pool = pool_of([("a.", "b."), ("a.", "")])
    with pytest.raises(ValueError, match="1 train pairs name a completion that the completions table does not hold"):
        PairQuality().select(replace(pool, completions=pool.completions.head(3)))
    with pytest.raises(ValueError, match="budget of 2 pairs, but only 1 of 2 look clean"):
        PairQuality(budget=Budget(count=2)).select(pool)
