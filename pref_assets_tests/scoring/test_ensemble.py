from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.scoring import BradleyTerry, Ensemble, RewardEnsemble
from pref_assets.scoring.logistic import fit_heads
from pref_assets.selection import Vectors
from pref_assets_tests.scoring.toy import linear_pairs

METHOD = BradleyTerry(embeddings="minilm", members=3, folds=4)
SCORER = RewardEnsemble(reward_model="ensemble")


def _score(pairs: pl.DataFrame, vectors: Vectors, method: BradleyTerry = METHOD) -> pl.DataFrame:
    return SCORER.strengths(pairs, vectors, method.fit(pairs, vectors))


@pytest.mark.parametrize(("flips", "precision"), [(0.2, 0.85), (0.4, 0.75)])
def test_planted_flips_have_the_lowest_margins(flips: float, precision: float) -> None:
    """The oracle of the method (n = 4000, d = 32): flips among the lowest share of margins, mean over six seeds."""
    found = []
    for seed in range(6):
        pairs, vectors, truth = linear_pairs(4000, 32, flips, seed)
        ensemble = BradleyTerry(embeddings="minilm").fit(pairs, vectors)
        scores = SCORER.strengths(pairs, vectors, ensemble).join(truth, on="pair_id").sort("score")
        found.append(scores.head(round(flips * 4000))["flipped"].sum() / (flips * 4000))
        # Out of fold, so the labels agree with the margins no more often than they are right.
        assert ensemble.metrics["accuracy"] < 1 - flips
        by_truth = dict(scores.group_by("flipped").agg(pl.col("p_correct").median()).iter_rows())
        assert by_truth[True] < 0.5 < by_truth[False]
    assert np.mean(found) >= precision


def test_a_train_pair_is_scored_by_heads_that_never_saw_its_prompt() -> None:
    pairs, vectors, _ = linear_pairs(60, 4, 0.2, seed=1, held_out=10, pairs_per_prompt=3)
    scores = _score(pairs, vectors)
    train = pairs.filter(pl.col("split") == "train")
    folds = pl.Series(METHOD.fold_of(train))
    assert train.with_columns(fold=folds).group_by("prompt_id").agg(pl.col("fold").n_unique())["fold"].max() == 1
    victim = train["prompt_id"][0]
    turned = pairs.with_columns(
        chosen_id=pl.when(pl.col("prompt_id") == victim).then("rejected_id").otherwise("chosen_id"),
        rejected_id=pl.when(pl.col("prompt_id") == victim).then("chosen_id").otherwise("rejected_id"),
    )
    both = scores.join(_score(turned, vectors), on="pair_id").join(pairs, on="pair_id")
    own = both.filter(pl.col("prompt_id") == victim)
    assert len(own) == 3
    np.testing.assert_allclose(own["score"], -own["score_right"], atol=1e-12)
    same_fold = both.join(train.filter(folds == folds[0]).select("pair_id"), on="pair_id", how="semi")
    np.testing.assert_allclose(same_fold["score"].abs(), same_fold["score_right"].abs(), atol=1e-12)
    held_out = both.filter(pl.col("split") == "test")
    assert (held_out["score"] != held_out["score_right"]).all()


def test_margins_and_spread_by_hand() -> None:
    """Two folds, two members, one dimension: heads 1, 3 in fold 0 and 5, 11 in fold 1."""
    config = BradleyTerry(embeddings="e", members=2, folds=2)
    pairs, vectors, _ = linear_pairs(12, 1, 0, seed=0, held_out=1)
    ensemble = Ensemble(config, np.array([[[1.0], [3.0]], [[5.0], [11.0]]]), 0.5, {})
    scores = SCORER.strengths(pairs, vectors, ensemble)
    fold = config.fold_of(pairs.sort("pair_id"))
    chosen, rejected = (vectors.rows(pairs.sort("pair_id")[c].to_list())[:, 0] for c in ("chosen_id", "rejected_id"))
    assert {0, 1} == set(fold[:12].tolist())
    for row in range(13):
        members = np.array([3.0, 7.0]) if row == 12 else np.array([[1.0, 3.0], [5.0, 11.0]][fold[row]])
        difference = float(chosen[row]) - float(rejected[row])
        expected = members * difference
        assert scores["score"][row] == pytest.approx(expected.mean())
        assert scores["spread"][row] == pytest.approx(abs(members[1] - members[0]) * abs(difference) / 2)
        assert scores["p_correct"][row] == pytest.approx(1 / (1 + np.exp(-0.5 * expected.mean())))
        assert scores["score_chosen"][row] - scores["score_rejected"][row] == pytest.approx(expected.mean())


def test_categories_are_quantiles_of_the_train_pairs() -> None:
    pairs, vectors, _ = linear_pairs(500, 4, 0.1, seed=2, held_out=50)
    scores = _score(pairs, vectors).join(pairs.select("pair_id", "split"), on="pair_id")
    train = scores.filter(pl.col("split") == "train")
    sizes = dict(train["category"].value_counts().iter_rows())
    assert sizes == {"incorrect": 100, "ambiguous": 100, "normal": 250, "very_strong": 50}
    means = train.group_by("category").agg(pl.col("score").mean()).sort("score")["category"].to_list()
    assert means == ["incorrect", "ambiguous", "normal", "very_strong"]
    cut = train.filter(pl.col("category") == "very_strong")["score"].min()
    held_out = scores.filter(pl.col("split") == "test")
    assert (held_out.filter(pl.col("score") >= cut)["category"] == "very_strong").all()


def test_results_do_not_depend_on_row_order_or_on_held_out_labels() -> None:
    pairs, vectors, _ = linear_pairs(200, 6, 0.2, seed=3, held_out=40)
    scores = _score(pairs, vectors)
    rows = np.random.default_rng(0).permutation(len(vectors.ids))
    mixed = Vectors([vectors.ids[row] for row in rows], vectors.matrix[rows])
    shuffled = pairs.sample(fraction=1, shuffle=True, seed=0)
    assert_frame_equal(_score(shuffled, mixed), scores)
    assert_frame_equal(_score(pairs.head(200), vectors), scores.head(200))
    assert scores.schema == PAIR_SCORES.schema


def test_the_seed_changes_folds_and_members() -> None:
    pairs, vectors, _ = linear_pairs(200, 6, 0.2, seed=3)
    first, again, other = (
        BradleyTerry(embeddings="e", members=3, folds=4, seed=seed).fit(pairs, vectors).heads for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first[0, 0] - first[0, 1]).max() > 1e-3


def test_bootstrap_counts_are_poisson_and_one_for_each_prompt() -> None:
    pairs, _, _ = linear_pairs(6000, 1, 0, seed=0, pairs_per_prompt=2)
    counts = BradleyTerry(embeddings="e", members=2)._bootstrap(pairs)
    np.testing.assert_array_equal(counts[::2], counts[1::2])
    # Standard errors over 3000 prompts: .018 of the mean, .026 of the variance, .009 of the share of zeros.
    assert counts[:, 0].mean() == pytest.approx(1, abs=0.08)
    assert counts[:, 0].var() == pytest.approx(1, abs=0.12)
    assert (counts[:, 1] == 0).mean() == pytest.approx(np.exp(-1), abs=0.04)


def test_soft_labels_pull_less() -> None:
    x = np.array([[1.0], [1.0]])
    hard, soft, tie = (fit_heads(x, np.full(2, p), np.ones((2, 1)), 1.0)[0, 0] for p in (1.0, 0.8, 0.5))
    assert hard > soft > tie == 0


def test_save_and_load(tmp_path: Path) -> None:
    pairs, vectors, _ = linear_pairs(100, 4, 0, seed=4)
    ensemble = METHOD.fit(pairs, vectors)
    ensemble.save(tmp_path / "model")
    loaded = Ensemble.load(tmp_path / "model")
    assert sorted(f.name for f in (tmp_path / "model").iterdir()) == ["ensemble.json", "heads.safetensors"]
    assert (loaded.config, loaded.temperature, loaded.metrics) == (METHOD, ensemble.temperature, ensemble.metrics)
    assert_frame_equal(SCORER.strengths(pairs, vectors, loaded), SCORER.strengths(pairs, vectors, ensemble))


def test_pairs_across_prompts_stand_for_themselves() -> None:
    pairs, vectors, _ = linear_pairs(100, 4, 0, seed=5)
    scores = _score(pairs.with_columns(prompt_id=pl.lit(None, pl.String)), vectors)
    assert scores["score"].is_finite().all()


def test_too_few_prompts_is_an_error() -> None:
    pairs, vectors, _ = linear_pairs(20, 4, 0, seed=6, pairs_per_prompt=20)
    with pytest.raises(ValueError, match="needs pairs of at least two prompts"):
        METHOD.fit(pairs, vectors)


def test_missing_and_broken_vectors_are_errors() -> None:
    pairs, vectors, _ = linear_pairs(40, 4, 0, seed=7)
    renamed = ["elsewhere", *vectors.ids[1:40], "nowhere", *vectors.ids[41:]]
    with pytest.raises(ValueError, match=r"2 ids have no embedding, e\.g\. \['c00000', 'c00040'\]"):
        METHOD.fit(pairs, Vectors(renamed, vectors.matrix))
    ensemble = METHOD.fit(pairs, vectors)
    with pytest.raises(ValueError, match="vectors of width 4, not 3"):
        SCORER.strengths(pairs, Vectors(vectors.ids, vectors.matrix[:, :3]), ensemble)
    vectors.matrix[5] = np.inf
    with pytest.raises(ValueError, match=r"1 embeddings hold NaN or infinite values, e\.g\. \['c00005'\]"):
        METHOD.fit(pairs, vectors)


def test_quantiles_must_rise() -> None:
    with pytest.raises(ValidationError, match="quantiles must rise"):
        RewardEnsemble(reward_model="m", incorrect_below=0.5)
