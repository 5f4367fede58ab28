import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pref_assets.features.ngrams import tokens
from pref_assets.scoring import AvgOut
from pref_assets.scoring.text.avgout import average_cosine, average_distribution
from pref_assets_tests.scoring.text.pools import detail, text_pool
from pref_assets_tests.selection.invariants import shuffled


def test_the_average_is_a_distribution() -> None:
    found = tokens(pl.Series(["a b", "a a a", "", "c"]))
    average = average_distribution(found, np.array([True, True, True, False]))
    assert average.tolist() == pytest.approx([3 / 4, 1 / 4, 0])
    assert average_distribution(found, np.ones(4, dtype=bool)).sum() == pytest.approx(1)


def test_texts_like_the_average_are_dull_and_others_are_not() -> None:
    found = tokens(pl.Series(["a b", "b a", "a a b b", "c d"]))
    cosine = average_cosine(found, np.array([True, True, True, False]))
    assert cosine.tolist() == pytest.approx([1, 1, 1, 0])
    assert cosine[3] == 0


@pytest.mark.parametrize("at_once", [2, 8_000_000])
def test_it_equals_the_definition(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("pref_assets.features.ngrams._AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefg"), size=rng.integers(1, 9))) for _ in range(30)]
    found = tokens(pl.Series(texts))
    rows = np.array([[text.split().count(word) for word in found.vocabulary] for text in texts], dtype=float)
    rows /= rows.sum(axis=1, keepdims=True)
    average = rows[:20].mean(axis=0)
    expected = rows @ average / np.linalg.norm(rows, axis=1) / np.linalg.norm(average)
    np.testing.assert_allclose(average_cosine(found, np.arange(30) < 20), expected)


def test_replies_that_many_give_are_the_dullest() -> None:
    rng = np.random.default_rng(1)
    n = 100
    dull = rng.random(n) < 0.6
    words = [f"word{i}" for i in range(500)]
    chosen = ["i do not know" if each else " ".join(rng.choice(words, 8)) for each in dull]
    scores = AvgOut().score(text_pool(["q"] * n, chosen, [" ".join(rng.choice(words, 8)) for _ in range(n)]))
    lowest = scores.sort("score").head(n // 10)["pair_id"]
    assert set(lowest) <= {f"p{i:03}" for i in np.flatnonzero(dull)}
    assert scores.filter(pl.Series(dull))["score"].max() < scores.filter(pl.Series(~dull))["score"].min()


def test_numbers_of_a_pair() -> None:
    pool = text_pool(["q", "q"], ["a a", "a"], ["b", ""])
    scores = AvgOut(rank_by="margin").score(pool)  # the average of a a, a, b: 2/3 and 1/3
    a, b = 2 / np.sqrt(5), 1 / np.sqrt(5)
    assert detail(scores, "dullness_chosen") == pytest.approx([a, a])
    assert detail(scores, "dullness_rejected") == [pytest.approx(b), None]
    assert scores["score_chosen"].to_list() == pytest.approx([1 - a, 1 - a])
    assert scores["score"].to_list() == [pytest.approx(b - a), None]
    assert AvgOut().score(pool)["score"].to_list() == pytest.approx([1 - a, 1 - a])


def test_held_out_answers_are_not_in_the_average() -> None:
    pool = text_pool(["q", "q"], ["a", "c"], ["b", "a"], splits=["train", "test"])
    assert AvgOut().score(pool)["score"].to_list() == pytest.approx([1 - 1 / np.sqrt(2), 1])


def test_row_order_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    texts = [" ".join(rng.choice(list("abcdefgh"), 7)) for _ in range(80)]
    pool = text_pool(["q"] * 40, texts[:40], texts[40:])
    assert_frame_equal(AvgOut().score(pool), AvgOut().score(shuffled(pool, 5)), check_exact=True)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="no answer of the train pairs holds a token"):
        AvgOut().score(text_pool(["q"], ["  "], [""]))
    pool = text_pool(["q", "q"])
    pool = type(pool)(pool.pairs, pool.completions.filter(pl.col("completion_id") != "r001"), prompts=pool.prompts)
    with pytest.raises(ValueError, match=r"1 pairs name a completion without text, e\.g\. \['p001'\]"):
        AvgOut().score(pool)
    assert AvgOut().score(text_pool([])).is_empty()
