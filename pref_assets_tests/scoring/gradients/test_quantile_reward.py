from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from pref_assets.pairs.schema import COMPLETIONS, PAIR_SCORES
from pref_assets.pool import Pool, Vectors
from pref_assets.scoring import QuantileReward
from pref_assets.scoring.gradients.quantile_reward import at_level, p_win
from pref_assets_tests.scoring.toy import linear_pairs
from pref_assets_tests.selection.invariants import shuffled

METHOD = QuantileReward(embeddings="e", folds=3, l2=1e-4)
FEW = METHOD.model_copy(update={"levels": (0.1, 0.25, 0.5, 0.75, 0.9)})


def _rated(n: int, raters: int, seed: int = 0, held_out: int = 20) -> Pool:
    """Pairs whose completions have ``raters`` ratings each: the first feature plus noise as wide as e^second."""
    pairs, vectors, _ = linear_pairs(n, 3, 0, seed, held_out=held_out)
    rng = np.random.default_rng(seed)
    matrix = vectors.matrix.astype(float)
    noise = rng.normal(size=(len(matrix), raters)) * np.exp(0.5 * matrix[:, 1:2])
    values = matrix[:, :1] + noise
    prompt = dict(zip(pairs["chosen_id"], pairs["prompt_id"], strict=True)) | dict(
        zip(pairs["rejected_id"], pairs["prompt_id"], strict=True)
    )
    completions = COMPLETIONS.frame(
        {
            "completion_id": id_,
            "prompt_id": prompt[id_],
            "ratings": [
                {"dimension": "quality", "value": float(value), "annotator": f"a{rater}", "rationale": None}
                for rater, value in enumerate(values[row])
            ],
        }
        for row, id_ in enumerate(vectors.ids)
    )
    return Pool(pairs, completions, embeddings={"e": vectors})


def _value(scores: pl.DataFrame, name: str) -> np.ndarray:
    return Pool(scores, scores, {"it": scores}).value("it", name)["value"].to_numpy()


def test_intervals_cover_what_raters_say_of_completions_never_seen() -> None:
    """The card's oracle: [q05, q95] holds .90 +- .02 of fresh ratings; quantiles do not cross."""
    pool = _rated(1500, raters=2)
    method = METHOD.model_copy(update={"levels": (0.05, 0.25, 0.5, 0.75, 0.95)})
    pairs = pool.candidates()
    chosen, rejected = method.quantiles(pool, pairs)
    assert (np.diff(chosen, axis=1) >= 0).all()
    assert (np.diff(rejected, axis=1) >= 0).all()
    ratings = dict(zip(pool.completions["completion_id"], pool.completions["ratings"].to_list(), strict=True))
    covered = [
        low <= rating["value"] <= high
        for side, found in (("chosen_id", chosen), ("rejected_id", rejected))
        for id_, (low, *_, high) in zip(pairs[side], found.tolist(), strict=True)
        for rating in ratings[id_]
    ]
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)


def test_the_reward_is_the_mean_and_the_spread_follows_the_noise() -> None:
    pool = _rated(600, raters=2)
    scores = FEW.score(pool)
    assert scores.schema == PAIR_SCORES.schema
    assert scores["score"].is_finite().all()
    pairs = pool.pairs.sort("pair_id")
    chosen = pool.embeddings["e"].rows(pairs["chosen_id"].to_list())
    assert np.corrcoef(scores["score_chosen"], chosen[:, 0])[0, 1] > 0.95
    assert np.corrcoef(_value(scores, "iqr_chosen"), np.exp(0.5 * chosen[:, 1]))[0, 1] > 0.8
    np.testing.assert_allclose(scores["score"], scores["score_chosen"] - scores["score_rejected"])
    np.testing.assert_allclose(
        _value(scores, "cvar_10"), _value(scores, "cvar_10_chosen") - _value(scores, "cvar_10_rejected")
    )
    assert (_value(scores, "cvar_10_chosen") < scores["score_chosen"].to_numpy()).all()
    wins = _value(scores, "p_win")
    assert ((wins > 0.5) == (scores["score"].to_numpy() > 0)).mean() > 0.9


def test_statistics_of_quantiles_by_hand() -> None:
    quantiles = np.array([[0.0, 1.0, 3.0]])
    levels = np.array([0.1, 0.5, 0.9])
    assert at_level(quantiles, levels, 0.5) == 1
    assert at_level(quantiles, levels, 0.3) == pytest.approx(0.5)
    assert at_level(quantiles, levels, 0.8) == pytest.approx(2.5)
    assert at_level(quantiles, levels, 0.01) == 0
    assert at_level(quantiles, levels, 0.99) == 3
    # Of the nine draws 0, 1, 3 against 1, 1, 2: three win (3 > 1, 3 > 1, 3 > 2), two tie.
    assert p_win(quantiles, np.array([[1.0, 1.0, 2.0]]))[0] == pytest.approx((3 + 0.5 * 2) / 9)
    assert p_win(quantiles, quantiles)[0] == pytest.approx(0.5)


def test_a_rating_does_not_predict_itself() -> None:
    """Swapping the ratings of a prompt's two answers moves the rewards of other prompts, not those of its own pair."""
    pool = _rated(60, raters=1)
    victim = pool.candidates()["prompt_id"][0]
    own = pl.col("prompt_id") == victim
    swapped = pool.completions.with_columns(
        ratings=pl.when(own).then(pl.col("ratings").reverse().over("prompt_id")).otherwise("ratings")
    )
    assert swapped.filter(own)["ratings"].to_list() == pool.completions.filter(own)["ratings"].to_list()[::-1]
    held = pool.candidates()["prompt_id"]
    folds = FEW._fold_of(held)
    beside = held.filter(pl.Series(folds == folds[held.to_list().index(victim)])).to_list()
    before, after = (
        FEW.score(each).join(pool.candidates(), on="pair_id") for each in (pool, replace(pool, completions=swapped))
    )
    moved = (before["score_chosen"] - after["score_chosen"]).abs()
    assert len(beside) > 5
    assert moved.filter(before["prompt_id"].is_in(beside)).to_numpy().max() < 1e-6
    assert moved.filter(~before["prompt_id"].is_in(beside)).to_numpy().min() > 1e-4


def test_labels_are_targets_where_there_are_no_ratings() -> None:
    pairs, vectors, truth = linear_pairs(600, 4, 0.2, 0, held_out=50)
    pool = Pool(pairs, COMPLETIONS.empty(), embeddings={"e": vectors})
    scores = FEW.model_copy(update={"target": "labels"}).score(pool).join(truth, on="pair_id")
    flipped, right = (scores.filter(pl.col("flipped") == each)["score"].to_numpy() for each in (True, False))
    assert (flipped[:, None] < right[None, :]).mean() > 0.9
    with pytest.raises(ValueError, match="none of the 1200 completions of train pairs has ratings; name"):
        FEW.score(pool)


def test_ranking_by_a_side_and_row_order() -> None:
    pool = _rated(60, raters=2)
    scores = FEW.score(pool)
    by_worst = FEW.model_copy(update={"by": "rejected"}).score(pool)
    np.testing.assert_array_equal(by_worst["score"], scores["score_rejected"])
    assert_frame_equal(FEW.score(shuffled(pool, 0)), scores)


def test_a_dimension_is_chosen_and_what_is_missing_is_said() -> None:
    pool = _rated(30, raters=1)
    assert_frame_equal(FEW.model_copy(update={"dimension": "quality"}).score(pool), FEW.score(pool))
    with pytest.raises(ValueError, match="none of the 60 completions of train pairs has ratings of dimension 'taste'"):
        FEW.model_copy(update={"dimension": "taste"}).score(pool)
    with pytest.raises(ValueError, match="one of 3 folds"):
        FEW.score(pool.only(pool.candidates()["pair_id"].to_list()[:1]))
    held_out = pool.pairs.filter(pl.col("split") == "test")["chosen_id"]
    lacking = pool.completions.filter(~pl.col("completion_id").is_in(held_out.implode()))
    with pytest.raises(ValueError, match="20 completions of pairs have no row"):
        FEW.score(replace(pool, completions=lacking))
    vectors = pool.embeddings["e"]
    with pytest.raises(ValueError, match="have no embedding"):
        FEW.score(replace(pool, embeddings={"e": Vectors(vectors.ids[1:], vectors.matrix[1:])}))


@pytest.mark.parametrize("levels", [(0.5, 0.1), (0.1, 0.1), (0.0, 0.05), (0.05, 1.0), (0.2, 0.5)])
def test_levels_rise_and_reach_the_tail(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="level"):
        QuantileReward(embeddings="e", levels=levels)
