import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Pool
from pref_assets.scoring import ScoreProduct, WinCount
from pref_assets.scoring.combined import Factor
from pref_assets_tests.scoring.text.pools import detail, text_pool
from pref_assets_tests.selection.invariants import shuffled


def of_answers(values: dict[str, list[float]]) -> Pool:
    """One prompt whose answers c000, c001, … were scored by each scorer; each is compared with the next."""
    n = len(next(iter(values.values())))
    pool = text_pool(["q"] * n)
    pairs = pool.pairs.head(n - 1).with_columns(
        prompt_id=pl.lit("q000"), rejected_id=pl.Series([f"c{i + 1:03}" for i in range(n - 1)])
    )
    completions = pool.completions.with_columns(prompt_id=pl.lit("q000"))
    scores = {
        name: PAIR_SCORES.frame(
            {
                "pair_id": f"p{i:03}",
                "score": each[i] - each[i + 1],
                "score_chosen": each[i],
                "score_rejected": each[i + 1],
            }
            for i in range(n - 1)
        )
        for name, each in values.items()
    }
    return Pool(pairs, completions, scores=scores, prompts=pool.prompts)


def test_the_card_s_order_of_four_answers() -> None:
    pool = of_answers({"a": [9, 3, 2, 1], "b": [4, 3, 2, 1]})
    scores = WinCount(scores=["a", "b"]).score(pool)
    assert scores["score_chosen"].to_list() == pytest.approx([1, 2 / 3, 1 / 3])
    assert scores["score_rejected"].to_list() == pytest.approx([2 / 3, 1 / 3, 0])
    assert scores["score"].to_list() == pytest.approx([1 / 3] * 3)
    assert detail(scores, "rank_chosen") == [1, 2, 3]
    assert detail(scores, "rank_rejected") == [2, 3, 4]


def test_scorers_that_disagree_by_hand() -> None:
    pool = of_answers({"a": [3, 2, 1], "b": [1, 2, 2]})
    scores = WinCount(scores=["a", "b"], rank_by="chosen").score(pool)
    # Wins of a: 2, 1, 0; of b: 0, 1.5, 1.5; of 2 (3 - 1) = 4.
    assert detail(scores, "phi_chosen") == pytest.approx([2 / 4, 2.5 / 4])
    assert detail(scores, "phi_rejected") == pytest.approx([2.5 / 4, 1.5 / 4])
    assert detail(scores, "rank_chosen") == [2, 1]
    assert detail(scores, "rank_rejected") == [1, 3]
    assert scores["score"].to_list() == pytest.approx([2 / 4, 2.5 / 4])


def test_equal_answers_share_the_mean_of_their_places() -> None:
    scores = WinCount(scores=["a"]).score(of_answers({"a": [2, 5, 2, 1]}))
    assert detail(scores, "rank_chosen") == [2.5, 1, 2.5]
    assert detail(scores, "rank_rejected") == [1, 2.5, 4]


def test_wins_do_not_change_under_increasing_transforms_of_a_score() -> None:
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(size=12).tolist(), "b": rng.normal(size=12).tolist(), "c": rng.normal(size=12).tolist()}
    method = WinCount(scores=["a", "b", "c"])
    plain = method.score(of_answers(values))
    bent = {"a": np.exp(values["a"]).tolist(), "b": [1000 * v for v in values["b"]], "c": np.tanh(values["c"]).tolist()}
    assert_frame_equal(method.score(of_answers(bent)), plain, check_exact=True)


def test_pairs_alone_count_signs() -> None:
    pool = of_answers({"a": [3, 2, 2], "b": [1, 2, 1]})
    scores = WinCount(scores=["a", "b"], compare="pairs").score(pool)
    # c000 wins 1 of 2; c001 wins 1 of 2 against it, and 1.5 of 2 against c002.
    assert scores["score_chosen"].to_list() == pytest.approx([1 / 2, 2.5 / 4])
    assert scores["score_rejected"].to_list() == pytest.approx([2.5 / 4, 0.5 / 2])


def test_an_answer_without_opponent_has_no_number() -> None:
    pool = of_answers({"a": [2.0, 1.0]})
    alone = Pool(
        pool.pairs.with_columns(prompt_id=pl.lit(None, pl.String)),
        pool.completions.with_columns(
            prompt_id=pl.when(pl.col("completion_id") == "c000").then(pl.lit("q000")).otherwise(pl.lit("q001"))
        ),
        scores=pool.scores,
    )
    scores = WinCount(scores=["a"]).score(alone)
    assert scores.select("score", "category").row(0) == (None, "no_opponent")


def test_bad_scores_to_count() -> None:
    pool = of_answers({"a": [3, 2, 1]})
    broken = pool.scores["a"].with_columns(score_chosen=pl.Series([None, 1.0]))
    with pytest.raises(
        ValueError, match=r"1 of 2 pairs have no usable 'score_chosen' in scores 'a', e\.g\. \['p000'\]"
    ):
        WinCount(scores=["a"]).score(Pool(pool.pairs, pool.completions, scores={"a": broken}))
    rounded = pool.scores["a"].with_columns(score_chosen=pl.Series([3.0, 2.0 + 1e-9]))
    rounds = Pool(pool.pairs, pool.completions, scores={"a": rounded})
    assert_frame_equal(WinCount(scores=["a"]).score(rounds), WinCount(scores=["a"]).score(pool))
    two = pool.scores["a"].with_columns(score_chosen=pl.Series([3.0, 5.0]))
    with pytest.raises(ValueError, match=r"1 answers have several values in scores 'a', e\.g\. \['c001'\]"):
        WinCount(scores=["a"]).score(Pool(pool.pairs, pool.completions, scores={"a": two}))


def with_columns(columns: dict[str, list[float | None]], splits: list[str] | None = None) -> Pool:
    n = len(next(iter(columns.values())))
    pool = text_pool(["q"] * n, splits=splits)
    tables = {
        name: PAIR_SCORES.frame({"pair_id": f"p{i:03}", "score": value} for i, value in enumerate(values))
        for name, values in columns.items()
    }
    return Pool(pool.pairs, pool.completions, scores=tables, prompts=pool.prompts)


def factors(*names: str, **settings: str) -> list[dict[str, str]]:
    return [{"scores": name, **settings} for name in names]


def test_a_product_by_hand_and_a_zero_removes() -> None:
    scores = ScoreProduct(factors=factors("a", "b")).score(with_columns({"a": [0.5, 1, 0], "b": [0.5, 0.25, 1]}))
    assert scores["score"].to_list() == [0.25, 0.25, 0]
    assert scores["category"].to_list() == ["positive", "positive", "zero_factor"]
    assert detail(scores, "factor_2") == [0.5, 0.25, 1]


def test_scales() -> None:
    pool = with_columns({"a": [-2.0, 0, 1000, -1000]}, ["train", "train", "train", "test"])
    half = Factor(scores="a", scale="sigmoid").values(pool)["factor"]
    assert half.to_list() == pytest.approx([1 / (1 + np.exp(2)), 0.5, 1, 0])
    assert Factor(scores="a", scale="quantile").values(pool)["factor"].to_list() == pytest.approx([1 / 3, 2 / 3, 1, 0])
    with pytest.raises(ValueError, match=r"3 of 4 pairs have 'score' outside \[0, 1\] in scores 'a'"):
        Factor(scores="a").values(pool)


@pytest.mark.parametrize("bad", [None, np.nan, np.inf])
def test_a_factor_that_is_missing_is_an_error(bad: float | None) -> None:
    with pytest.raises(ValueError, match=r"1 of 2 pairs have no usable 'score' in scores 'a', e\.g\. \['p001'\]"):
        ScoreProduct(factors=factors("a")).score(with_columns({"a": [0.5, bad]}))


def test_row_order_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    pool = of_answers({"a": rng.normal(size=20).tolist(), "b": rng.normal(size=20).tolist()})
    for method in (
        WinCount(scores=["a", "b"]),
        WinCount(scores=["a", "b"], compare="pairs"),
        ScoreProduct(factors=factors("a", "b", scale="quantile")),
    ):
        assert_frame_equal(method.score(pool), method.score(shuffled(pool, 2)), check_exact=True)


def test_references_of_factors_are_found() -> None:
    names = [(ref.stage, ref.name) for ref in ScoreProduct(factors=factors("a", "b")).references()]
    assert names == [("scores", "a"), ("scores", "b")]
