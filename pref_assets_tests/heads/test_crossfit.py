import numpy as np
import polars as pl
import pytest

from pref_assets.heads import Bt, CrossFit, CrossFitted, load_reward_model
from pref_assets.heads.base import side_vectors
from pref_assets.pairs.schema import COMPLETIONS
from pref_assets.pool import Pool
from pref_assets.scoring.logistic import fit_heads
from pref_assets_tests.scoring.toy import linear_pairs


def pool(n: int = 400, flips: float = 0.1, seed: int = 0, held_out: int = 100) -> Pool:
    pairs, vectors, _ = linear_pairs(n, 8, flips, seed, held_out=held_out, pairs_per_prompt=2)
    return Pool(pairs, COMPLETIONS.empty(), embeddings={"e": vectors})


def test_a_linear_head_without_folds_is_the_logistic_solution() -> None:
    world = pool()
    train = world.candidates()
    head = Bt(embeddings="e").fit(world, train)
    chosen, rejected = side_vectors(world, "e", train)
    expected = fit_heads(chosen - rejected, np.ones(len(train)), np.ones((len(train), 1)), 1.0)[:, 0]
    np.testing.assert_allclose(head.arrays()["weights"], expected, atol=1e-6)


def test_heads_of_a_fold_never_saw_its_prompts() -> None:
    """Turning the labels of one fold around changes nothing that its own heads say."""
    world = pool()
    config = Bt(embeddings="e", cross_fit=CrossFit(folds=4, members=2))
    fitted = config.fit_all(world)
    train = world.candidates()
    mine = fitted.fold_of(train) == 2
    turned = train.with_columns(p_chosen=pl.Series(np.where(mine, 0.0, 1.0)))
    again = config.fit_all(Pool(turned, world.completions, embeddings=world.embeddings))
    before, after = (each.predict(world, train).margin for each in (fitted, again))
    np.testing.assert_array_equal(before[mine], after[mine])
    assert (before[~mine] != after[~mine]).all()


def test_heads_come_back_as_they_were_saved(tmp_path) -> None:
    world = pool()
    fitted = Bt(embeddings="e", cross_fit=CrossFit(folds=3)).fit_all(world)
    fitted.save(tmp_path)
    loaded = load_reward_model(tmp_path)
    assert isinstance(loaded, CrossFitted)
    assert loaded.metrics == fitted.metrics
    before, after = (each.predict(world, world.pairs) for each in (fitted, loaded))
    np.testing.assert_array_equal(before.margin, after.margin)
    np.testing.assert_array_equal(before.uncertainty, after.uncertainty)


def test_predictions_do_not_depend_on_the_order_of_rows() -> None:
    world = pool()
    shuffled = world.pairs.sample(fraction=1.0, shuffle=True, seed=1)
    config = Bt(embeddings="e")
    first = config.fit_all(world).predict(world, world.pairs)
    second = config.fit_all(Pool(shuffled, world.completions, embeddings=world.embeddings)).predict(world, shuffled)
    order = shuffled.with_row_index().sort("pair_id")["index"].to_numpy()
    np.testing.assert_allclose(first.margin, second.margin[order], rtol=1e-12, atol=1e-12)


def test_a_single_prompt_is_refused() -> None:
    world = pool(n=2, held_out=0)
    with pytest.raises(ValueError, match="at least two prompts"):
        Bt(embeddings="e").fit_all(world)
