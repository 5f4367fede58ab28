import numpy as np
import pytest

from pref_assets.scoring.logistic import fit_heads


def test_one_dimension_by_hand() -> None:
    """Three pairs for and one against, all with difference 1: p - 3/4 = 0 without penalty, so w = log 3."""
    heads = fit_heads(np.ones((4, 1)), np.array([1.0, 1, 1, 0]), np.ones((4, 1)), l2=1e-9)
    assert heads.shape == (1, 1)
    assert heads[0, 0] == pytest.approx(np.log(3), abs=1e-6)


def test_a_soft_label_counts_for_both_sides() -> None:
    soft = fit_heads(np.ones((1, 1)), np.array([0.75]), np.full((1, 1), 4.0), l2=0.5)
    votes = fit_heads(np.ones((4, 1)), np.array([1.0, 1, 1, 0]), np.ones((4, 1)), l2=0.5)
    assert soft[0, 0] == pytest.approx(votes[0, 0], abs=1e-7)


@pytest.mark.parametrize("l2", [0.01, 100.0])
def test_each_head_is_what_scikit_learn_finds(l2: float) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 6))
    p = rng.choice([0.0, 0.3, 1.0], size=120)
    weights = rng.poisson(1, size=(120, 3)).astype(float)
    heads = fit_heads(x, p, weights, l2)
    both = np.concatenate([x, x]), np.repeat([1, 0], 120)
    for head in range(3):
        expected = LogisticRegression(C=1 / l2, fit_intercept=False, tol=1e-10, max_iter=10_000)
        expected.fit(*both, sample_weight=np.concatenate([weights[:, head] * p, weights[:, head] * (1 - p)]))
        np.testing.assert_allclose(heads[:, head], expected.coef_[0], atol=1e-5)


def test_swapping_the_sides_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    x, p, weights = rng.normal(size=(60, 4)), rng.random(60), rng.random((60, 2))
    sign = rng.choice([-1.0, 1.0], size=60)
    swapped = fit_heads(x * sign[:, None], np.where(sign > 0, p, 1 - p), weights, 1.0)
    np.testing.assert_allclose(fit_heads(x, p, weights, 1.0), swapped, atol=1e-6)


def test_separable_data_is_held_by_the_penalty() -> None:
    """w solves l2 w = n s(-w a) a for n equal differences a, to 1e-8 of the gradient at zero, n a / 2."""
    n, a, l2 = 50, 3.0, 1e-3
    (head,) = fit_heads(np.full((n, 1), a), np.ones(n), np.ones((n, 1)), l2)[0]
    assert l2 * head == pytest.approx(n * a / (1 + np.exp(head * a)), abs=1e-6)


def test_a_head_without_pairs_is_zero() -> None:
    weights = np.stack([np.ones(5), np.zeros(5)], axis=1)
    heads = fit_heads(np.ones((5, 2)), np.ones(5), weights, 1.0)
    assert (heads[:, 0] > 0).all()
    assert (heads[:, 1] == 0).all()
