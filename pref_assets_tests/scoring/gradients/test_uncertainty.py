import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pref_assets.pairs.schema import COMPLETIONS, PAIR_SCORES, PAIRS
from pref_assets.pool import Pool, Vectors
from pref_assets.scoring import BradleyTerry, El2n, Ensemble, Grand, HeadEntropy, RewardEnsemble, Scorer
from pref_assets.scoring.gradients.uncertainty import entropy
from pref_assets_tests.scoring.gradients.pools import linear_pool
from pref_assets_tests.selection.invariants import shuffled

SCORERS: list[Scorer] = [El2n(reward_model="rm"), Grand(reward_model="rm"), HeadEntropy(reward_model="rm")]


def _by_hand(p_chosen: float = 1.0) -> Pool:
    """One held-out pair of difference (3, 4), heads (.2, .1) and (1, 0) in the only live fold: margins 1 and 3."""
    pair = {"pair_id": "p", "prompt_id": "q", "chosen_id": "c", "rejected_id": "r", "p_chosen": p_chosen}
    config = BradleyTerry(embeddings="e", members=2, folds=2)
    heads = np.array([[[0.2, 0.1], [1.0, 0.0]]] * 2)
    return Pool(
        PAIRS.frame([{**pair, "split": "test"}]),
        COMPLETIONS.empty(),
        embeddings={"e": Vectors(["c", "r"], np.array([[3.0, 5.0], [0.0, 1.0]], dtype=np.float32))},
        reward_models={"rm": Ensemble(config, heads, 1.0, {})},
    )


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("p_chosen", [1.0, 0.5, 0.25])
def test_numbers_by_hand(p_chosen: float) -> None:
    pool = _by_hand(p_chosen)
    errors = np.array([abs(_sigmoid(1) - p_chosen), abs(_sigmoid(3) - p_chosen)])
    el2n = El2n(reward_model="rm").score(pool).row(0, named=True)
    assert el2n["score"] == pytest.approx(math.sqrt(2) * errors.mean())
    assert el2n["spread"] == pytest.approx(math.sqrt(2) * errors.std())
    grand = Grand(reward_model="rm").score(pool).row(0, named=True)
    assert grand["score"] == pytest.approx(5 * errors.mean())  # |(3, 4)| = 5
    assert grand["spread"] == pytest.approx(5 * errors.std())


def test_el2n_of_a_pair_is_the_norm_of_the_error_over_both_labels() -> None:
    """The card's oracle: sqrt(2) (1 - s(margin)) for a hard label."""
    pool = _by_hand()
    predicted = np.array([[_sigmoid(m), 1 - _sigmoid(m)] for m in (1, 3)])
    expected = np.linalg.norm(predicted - [1, 0], axis=1).mean()
    assert El2n(reward_model="rm").score(pool)["score"][0] == pytest.approx(expected)


def test_entropy_parts_add_up() -> None:
    pool = _by_hand()
    row = HeadEntropy(reward_model="rm").score(pool).row(0, named=True)
    details = {each["name"]: each["value"] for each in row["details"]}
    p = np.array([_sigmoid(1), _sigmoid(3)])
    members = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert details["expected_entropy"] == pytest.approx(members.mean())
    assert row["score"] == pytest.approx(details["expected_entropy"] + details["mutual_information"])
    assert details["mutual_information"] > 0
    np.testing.assert_allclose(entropy(np.array([0.0, 0.5, 1.0])), [0, math.log(2), 0], atol=1e-15)


def test_grand_is_the_gradient_of_the_loss() -> None:
    """Against finite differences of the loss in the head, member by member."""
    pool, _ = linear_pool(40, 3, members=1)
    ensemble = pool.reward_models["rm"]
    found = Grand(reward_model="rm").score(pool)
    pairs = pool.pairs.sort("pair_id")
    fold = ensemble.fold_of(pairs)
    assert set(fold) == {-1, 0, 1, 2, 3}
    for row in range(0, len(pairs), 7):
        head = ensemble.heads.mean(axis=0)[0] if fold[row] < 0 else ensemble.heads[fold[row], 0]
        chosen, rejected = pool.embeddings["e"].rows([pairs["chosen_id"][row], pairs["rejected_id"][row]])
        difference = chosen.astype(float) - rejected.astype(float)

        def loss(w: np.ndarray, x: np.ndarray = difference) -> float:
            return float(np.logaddexp(0, -w @ x))

        steps = 1e-5 * np.eye(3)
        gradient = [(loss(head + step) - loss(head - step)) / 2e-5 for step in steps]
        assert found["score"][row] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


def test_flipped_labels_have_large_errors_and_entropy_does_not_see_them() -> None:
    pool, truth = linear_pool(1500, 16, flips=0.2)
    for scorer, floor, ceiling in ((SCORERS[0], 0.85, 1.0), (SCORERS[1], 0.85, 1.0), (SCORERS[2], 0.4, 0.6)):
        both = scorer.score(pool).join(truth, on="pair_id").join(pool.candidates(), on="pair_id", how="semi")
        flipped, right = (both.filter(pl.col("flipped") == value)["score"].to_numpy() for value in (True, False))
        auc = (flipped[:, None] > right[None, :]).mean()
        assert floor < auc < ceiling, scorer


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda each: each.type)
def test_a_label_cannot_vouch_for_itself(scorer: Scorer) -> None:
    """Train pairs are judged by heads that never saw them: the margins are those of `reward_ensemble`, out of fold."""
    pool, _ = linear_pool(60, 4)
    margins = RewardEnsemble(reward_model="rm").score(pool)
    head_free = HeadEntropy(reward_model="rm").score(pool)
    single = pool.reward_models["rm"].heads.shape[1]
    assert single == 2
    lo, hi = (margins["score"] - margins["spread"]).to_numpy(), (margins["score"] + margins["spread"]).to_numpy()
    p = 0.5 * (1 / (1 + np.exp(-lo)) + 1 / (1 + np.exp(-hi)))  # of two members mean and spread give both margins
    np.testing.assert_allclose(head_free["score"], entropy(p), atol=1e-12)
    if isinstance(scorer, El2n):
        np.testing.assert_allclose(scorer.score(pool)["score"], math.sqrt(2) * (1 - p), atol=1e-12)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda each: each.type)
def test_scores_do_not_depend_on_row_order_and_cover_every_pair(scorer: Scorer) -> None:
    pool, _ = linear_pool(50, 4, held_out=10)
    scores = scorer.score(pool)
    assert scores.schema == PAIR_SCORES.schema
    assert scores["pair_id"].to_list() == pool.pairs["pair_id"].sort().to_list()
    assert scores["score"].is_finite().all()
    assert_frame_equal(scorer.score(shuffled(pool, 1)), scores)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda each: each.type)
def test_bad_vectors_are_refused_and_no_pair_is_no_score(scorer: Scorer) -> None:
    pool, _ = linear_pool(30, 4)
    vectors = pool.embeddings["e"]
    broken = vectors.matrix.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 embeddings hold NaN"):
        scorer.score(replace(pool, embeddings={"e": Vectors(vectors.ids, broken)}))
    with pytest.raises(ValueError, match="have no embedding"):
        scorer.score(replace(pool, embeddings={"e": Vectors(vectors.ids[:-4], vectors.matrix[:-4])}))
    with pytest.raises(ValueError, match="width 4, not 3"):
        scorer.score(replace(pool, embeddings={"e": Vectors(vectors.ids, vectors.matrix[:, :3])}))
    assert_frame_equal(scorer.score(pool.only([])), PAIR_SCORES.empty())
