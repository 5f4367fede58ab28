from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pref_assets.pairs.schema import PAIR_SCORES
from pref_assets.pool import Vectors
from pref_assets.scoring import OneStepInfluence
from pref_assets.scoring.gradients.heads import losses, residuals
from pref_assets.scoring.gradients.influence_model import spearman
from pref_assets_tests.scoring.gradients.pools import linear_pool
from pref_assets_tests.selection.invariants import shuffled

METHOD = OneStepInfluence(reward_model="rm")


def _problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A head, 400 pairs and 200 trusted pairs of 20 dimensions, as the card has them."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=20) * 0.3, rng.normal(size=(400, 20)), rng.normal(size=(200, 20)) + 0.3


def _agreement(seed: int, lr: float) -> float:
    head, x, reference = _problem(seed)
    ones, wanted = np.ones(400), np.ones(200)
    gain = METHOD.model_copy(update={"lr": lr}).gain(head, x, ones, reference, wanted)
    gradient = (residuals(reference @ head, wanted)[:, None] * reference).mean(axis=0)
    first_order = lr * residuals(x @ head, ones) * (x @ gradient)
    return spearman(gain, first_order) or 0.0


def test_a_small_step_changes_the_loss_by_the_product_of_gradients() -> None:
    """The card's oracle: Spearman above .99 at lr .01, less at .1, least at 1."""
    for seed in range(3):
        small, middle, large = (_agreement(seed, lr) for lr in (0.01, 0.1, 1.0))
        assert small > 0.99
        assert small > middle > large


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_step_is_that_of_torch(optimizer: str, clip: float | None) -> None:
    import torch

    method = OneStepInfluence(reward_model="rm", optimizer=optimizer, lr=0.02, weight_decay=0.1, clip=clip, eps=1e-3)
    head, x, _ = _problem(1)
    p_chosen = np.linspace(0, 1, 5)
    found = method.stepped(head, x[:5], p_chosen)
    for row in range(5):
        w = torch.tensor(head, requires_grad=True)
        # Decay is decoupled from the gradient in both; torch's SGD couples it, so it is taken off by hand there.
        step = (
            torch.optim.AdamW([w], lr=0.02, betas=(0.9, 0.95), eps=1e-3, weight_decay=0.1)
            if optimizer == "adamw"
            else torch.optim.SGD([w], lr=0.02)
        )
        margin = torch.tensor(x[row]) @ w
        loss = -p_chosen[row] * torch.nn.functional.logsigmoid(margin)
        (loss - (1 - p_chosen[row]) * torch.nn.functional.logsigmoid(-margin)).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([w], clip)
        step.step()
        after = w.detach().numpy() - (0 if optimizer == "adamw" else 0.02 * 0.1 * head)
        np.testing.assert_allclose(found[row], after, atol=1e-6)  # torch adds 1e-6 to the norm it clips by


def test_gain_is_the_fall_of_the_mean_loss() -> None:
    head, x, reference = _problem(2)
    p_chosen, wanted = np.full(400, 0.8), np.full(200, 0.9)
    gain = METHOD.gain(head, x, p_chosen, reference, wanted)
    before = losses(reference @ head, wanted).mean()
    for row in (0, 7, 399):
        moved = head - 0.01 * (1 / (1 + np.exp(-head @ x[row])) - 0.8) * x[row]
        assert gain[row] == pytest.approx(before - losses(reference @ moved, wanted).mean(), abs=1e-12)


def test_each_pair_steps_from_heads_that_never_saw_it_and_the_heads_stay() -> None:
    pool, _ = linear_pool(80, 4, trusted=40, held_out=10)
    ensemble = pool.reward_models["rm"]
    kept = ensemble.heads.copy()
    scores = METHOD.score(pool)
    np.testing.assert_array_equal(ensemble.heads, kept)
    train = pool.candidates()
    fold = ensemble.config.fold_of(train)
    vectors = pool.embeddings["e"]
    trusted = pool.pairs.filter(pl.col("split") == "validation").sort("pair_id")

    def differences(pairs: pl.DataFrame) -> np.ndarray:
        sides = [vectors.rows(pairs[side].to_list()).astype(float) for side in ("chosen_id", "rejected_id")]
        return sides[0] - sides[1]

    found = scores.join(train, on="pair_id", how="semi")["score"].to_numpy()
    for k in range(4):
        rows = np.flatnonzero(fold == k)
        head = ensemble.heads[k].mean(axis=0)
        expected = METHOD.gain(head, differences(train[rows]), np.ones(len(rows)), differences(trusted), np.ones(40))
        np.testing.assert_allclose(found[rows], expected, rtol=1e-7, atol=1e-15)


def test_flipped_pairs_lose_and_the_categories_say_why_others_have_none() -> None:
    pool, truth = linear_pool(1000, 8, held_out=10)
    scores = METHOD.score(pool)
    assert scores.schema == PAIR_SCORES.schema
    assert dict(scores["category"].value_counts().iter_rows()) == {None: 1000, "reference": 200, "held_out": 10}
    both = scores.drop_nulls("score").join(truth, on="pair_id")
    means = dict(both.group_by("flipped").agg(pl.col("score").mean()).iter_rows())
    assert means[True] < 0 < means[False]
    assert_frame_equal(METHOD.score(shuffled(pool, 0)), scores)


def test_bad_input_is_refused() -> None:
    pool, _ = linear_pool(40, 4, trusted=0)
    with pytest.raises(ValueError, match="validation"):
        METHOD.score(pool)
    pool, _ = linear_pool(40, 4, trusted=5)
    vectors = pool.embeddings["e"]
    with pytest.raises(ValueError, match="width 4, not 2"):
        METHOD.score(replace(pool, embeddings={"e": Vectors(vectors.ids, vectors.matrix[:, :2])}))
    broken = vectors.matrix.copy()
    broken[0] = np.inf
    with pytest.raises(ValueError, match="1 embeddings hold NaN"):
        METHOD.score(replace(pool, embeddings={"e": Vectors(vectors.ids, broken)}))
