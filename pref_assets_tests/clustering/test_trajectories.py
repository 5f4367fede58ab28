import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from pref_assets.clustering import KMeans, Trajectories
from pref_assets.clustering.base import Clustering
from pref_assets.features.pair_head import Head, HeadTraining, Sides, sides_of
from pref_assets.features.trajectories import loss_trajectories, standardized
from pref_assets.pool import Vectors
from pref_assets_tests.clustering.pools import preferences, vector_pool
from pref_assets_tests.clustering.test_kmeans import NO_TEXTS


def a_head(hidden: int = 3, d: int = 4) -> Head:
    rng = np.random.default_rng(0)
    return Head(rng.normal(size=(hidden, d)).astype(np.float32), rng.normal(size=hidden).astype(np.float32))


def some_sides(n: int = 6, d: int = 4) -> Sides:
    chosen, rejected = np.random.default_rng(1).normal(size=(2, n, d)).astype(np.float32)
    return Sides(chosen, rejected, np.linspace(0.5, 1, n).astype(np.float32))


def torch_losses(hidden: torch.Tensor, out: torch.Tensor, sides: Sides) -> torch.Tensor:
    reward = [torch.tanh(torch.tensor(side) @ hidden.T) @ out for side in (sides.chosen, sides.rejected)]
    margin, p = reward[0] - reward[1], torch.tensor(sides.p_chosen)
    sigmoid = torch.nn.functional.logsigmoid
    return -p * sigmoid(margin) - (1 - p) * sigmoid(-margin)


def test_losses_and_gradients_are_those_of_torch() -> None:
    head, sides = a_head(), some_sides()
    hidden, out = (torch.tensor(each, requires_grad=True) for each in (head.hidden, head.out))
    losses = torch_losses(hidden, out, sides)
    np.testing.assert_allclose(head.losses(sides), losses.detach(), atol=1e-6)
    rows = []
    for loss in losses:
        parts = torch.autograd.grad(loss, (hidden, out), retain_graph=True)
        rows.append(torch.cat([part.ravel() for part in parts]).numpy())
    np.testing.assert_allclose(head.gradients(sides), np.stack(rows), atol=1e-6)
    np.testing.assert_allclose(head.mean_gradient(sides), np.mean(rows, axis=0), atol=1e-6)


def test_training_is_adam() -> None:
    """Three steps of torch's Adam on the same batches."""
    sides = some_sides(4)
    training = HeadTraining(hidden=3, epochs=3, batch=4, learning_rate=0.05)
    heads = list(training.run(["a", "b", "c", "d"], sides, seed=0))
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(3, 4)), rng.normal(size=3) / np.sqrt(3)]
    hidden, out = (torch.tensor(each, dtype=torch.float32, requires_grad=True) for each in start)
    optimizer = torch.optim.Adam([hidden, out], lr=0.05)
    for head in heads:
        optimizer.zero_grad()
        torch_losses(hidden, out, sides).mean().backward()
        optimizer.step()
        np.testing.assert_allclose(head.hidden, hidden.detach(), atol=1e-5)
        np.testing.assert_allclose(head.out, out.detach(), atol=1e-5)


def test_a_pass_sees_each_pair_once_and_the_head_learns() -> None:
    chosen, rejected, _ = preferences(400)
    pool = vector_pool(chosen, rejected)
    sides = sides_of(pool.pairs, pool.embeddings["e"])
    training = HeadTraining(epochs=10, batch=50)
    heads = list(training.run(pool.pairs["pair_id"].to_list(), sides, 0))
    assert len(heads) == training.steps(400) == 80
    assert heads[-1].losses(sides).mean() < 0.5 * np.log(2) < heads[0].losses(sides).mean()


def settings(**more: object) -> Trajectories:
    training = HeadTraining(epochs=10, batch=50)
    return Trajectories.model_validate({"embeddings": "e", "k": 6, "training": training.model_dump(), **more})


def test_held_out_pairs_are_measured_and_not_trained_on() -> None:
    chosen, rejected, _ = preferences(300)
    seen = [vector_pool(chosen[:n], rejected[:n], held_out=n - 250) for n in (270, 300)]
    found = [loss_trajectories(p.pairs, p.embeddings["e"], HeadTraining(batch=25), 20, 0) for p in seen]
    assert found[1].matrix.shape == (300, 20)
    # Lengths are scaled by the mean over all vectors, which differs a little.
    np.testing.assert_allclose(found[0].matrix[:250], found[1].matrix[:250], atol=0.02)


def test_every_pair_has_a_cluster_whatever_the_row_order() -> None:
    chosen, rejected, _ = preferences(300)
    found: list[Clustering] = [
        settings().cluster(vector_pool(chosen, rejected, held_out=40, shuffle=seed)) for seed in (None, 1, 2)
    ]
    assert found[0].assignments["id"].to_list() == [f"p{i:05}" for i in range(300)]
    assert found[0].centroids["size"].is_sorted(descending=True)
    assert found[0].centroids["label"].str.contains(r"^loss \d\.\d\d to \d\.\d\d$").all()
    for other in found[1:]:
        assert_frame_equal(found[0].assignments, other.assignments)
        assert found[0].quality == other.quality


def test_flipped_pairs_gather_in_few_clusters() -> None:
    """Of 20 % flipped pairs most lie in clusters that are mostly flipped: enrichment three times and more."""
    chosen, rejected, flips = preferences(1000, flipped=0.2)
    pool = vector_pool(chosen, rejected)
    found = settings(k=10).cluster(pool).assignments
    table = found.with_columns(flipped=pl.Series(flips)).group_by("cluster").agg(pl.col("flipped").mean(), pl.len())
    worst = table.sort("flipped", descending=True).filter(pl.col("len").cum_sum() <= 200)
    assert worst["len"].sum() > 50
    assert (worst["flipped"] * worst["len"]).sum() / worst["len"].sum() > 3 * 0.2


def test_planted_curves_are_told_apart() -> None:
    """Card 19: fast, slow, flat and oscillating curves with noise .1, 800 of them: purity 1."""
    steps = np.linspace(0, 1, 20)
    curves = [np.exp(-8 * steps), 1 - 0.8 * steps, np.full(20, 0.9), 0.5 + 0.5 * np.sin(4 * np.pi * steps)]
    truth = np.repeat(np.arange(4), 200)
    noisy = np.stack(curves)[truth] + 0.1 * np.random.default_rng(0).normal(size=(800, 20))
    vectors = Vectors([f"p{i:03}" for i in range(800)], noisy.astype(np.float32))
    found = KMeans(embeddings="e", k=4, normalize=False).fit(vectors, NO_TEXTS).assignments["cluster"].to_numpy()
    assert sum(np.bincount(truth[found == c]).max() for c in range(4)) == 800


def test_standardized() -> None:
    rows = np.array([[1.0, 2, 3], [10, 20, 30], [5, 5, 5]], dtype=np.float32)
    shape = np.array([-1, 0, 1]) / np.std([1, 2, 3])
    np.testing.assert_allclose(standardized(rows), [shape, shape, [0, 0, 0]], atol=1e-6)


def test_shape_alone() -> None:
    chosen, rejected, _ = preferences(300)
    found = settings(standardize=True).cluster(vector_pool(chosen, rejected))
    assert found.centroids["label"].to_list() == [""] * 6


def test_bad_inputs() -> None:
    chosen, rejected, _ = preferences(40)
    with pytest.raises(ValueError, match="40 train pairs in batches of 50 make 10 steps in 10 epochs, too few for 20"):
        settings().cluster(vector_pool(chosen, rejected))
    with pytest.raises(ValueError, match="no train pairs"):
        list(HeadTraining().run([], Sides(np.empty((0, 2)), np.empty((0, 2)), np.empty(0)), 0))
    pool = vector_pool(chosen, rejected)
    short = Vectors(pool.embeddings["e"].ids[1:], pool.embeddings["e"].matrix[1:])
    with pytest.raises(ValueError, match="1 ids have no embedding"):
        loss_trajectories(pool.pairs, short, HeadTraining(), 2, 0)
