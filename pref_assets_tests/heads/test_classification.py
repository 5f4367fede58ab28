import numpy as np
import polars as pl
import pytest

from pref_assets.heads import ClassifierMlp, ClassifierTrees, Head
from pref_assets.heads.classification import examples
from pref_assets.heads.network import Mlp
from pref_assets.pairs.schema import COMPLETIONS, PAIRS
from pref_assets.pool import Pool, Vectors
from pref_assets_tests.scoring.toy import linear_pairs

HEADS: list[Head] = [
    ClassifierMlp(embeddings="e", network=Mlp(hidden=(16,))),
    ClassifierTrees(embeddings="e", features=1.0, trees=100),
]
both = pytest.mark.parametrize("head", HEADS, ids=["mlp", "gb"])


def planted(n: int = 2500, d: int = 4) -> tuple[Pool, dict[str, float]]:
    """Pairs labelled without noise by a linear reward, and that reward of each completion."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(2 * n, d)).astype(np.float32)
    truth = matrix @ rng.normal(size=d)
    ids = [f"c{row:05}" for row in range(2 * n)]
    first = truth[:n] > truth[n:]
    pairs = PAIRS.frame(
        {
            "pair_id": f"p{row:05}",
            "prompt_id": f"q{row:05}",
            "chosen_id": ids[row] if first[row] else ids[n + row],
            "rejected_id": ids[n + row] if first[row] else ids[row],
            "p_chosen": 1.0,
            "split": "train" if row < 0.8 * n else "test",
        }
        for row in range(n)
    )
    return Pool(pairs, COMPLETIONS.empty(), embeddings={"e": Vectors(ids, matrix)}), dict(zip(ids, truth, strict=True))


@both
def test_logits_keep_the_order_of_the_planted_reward(head: Head) -> None:
    pool, truth = planted()
    test = pool.pairs.filter(split="test")
    found = head.fit(pool, pool.candidates()).predict(pool, test)
    assert found.score_chosen is not None
    assert found.score_rejected is not None
    logits = np.concatenate([found.score_chosen, found.score_rejected])
    wanted = np.array([truth[each] for side in ("chosen_id", "rejected_id") for each in test[side]])
    ranks = [each.argsort().argsort() for each in (logits, wanted)]
    assert np.corrcoef(*ranks)[0, 1] > 0.9
    assert (found.margin > 0).mean() > 0.85
    np.testing.assert_allclose(found.margin, found.score_chosen - found.score_rejected)


def test_every_side_is_an_example() -> None:
    pool, _ = planted(n=10)
    train = pool.candidates().with_columns(p_chosen=pl.lit(0.7))
    features, labels, prompts = examples(HEADS[0], pool, train)
    n = len(train)
    assert features.shape == (2 * n, 4)
    np.testing.assert_allclose(labels, [0.7] * n + [0.3] * n)
    assert prompts.to_list() == train["prompt_id"].to_list() * 2


@both
def test_equal_inputs_give_equal_heads_that_come_back(head: Head) -> None:
    pool, _ = planted(n=300)
    train = pool.candidates()
    first, again = (head.fit(pool, train) for _ in range(2))
    wanted = first.predict(pool, pool.pairs).margin
    np.testing.assert_array_equal(again.predict(pool, pool.pairs).margin, wanted)
    np.testing.assert_array_equal(head.restore(first.arrays()).predict(pool, pool.pairs).margin, wanted)


@both
def test_no_pair_is_refused(head: Head) -> None:
    pool, _ = planted(n=10)
    with pytest.raises(ValueError, match="no pair to learn from"):
        head.fit(pool, pool.pairs.clear())


@both
def test_another_width_is_refused(head: Head) -> None:
    pool, _ = planted(n=100)
    fitted = head.fit(pool, pool.candidates())
    pairs, vectors, _ = linear_pairs(5, 3, 0.0, 0)
    with pytest.raises(ValueError, match="reads vectors of width 4"):
        fitted.predict(Pool(pairs, COMPLETIONS.empty(), embeddings={"e": vectors}), pairs)
