import numpy as np
import pytest
from sklearn.linear_model import QuantileRegressor

from pref_assets.scoring.gradients.pinball import fit_quantiles, pinball


def test_pinball_by_hand() -> None:
    """The card's oracle: a miss of +2 costs 1.8 at level .9, a miss of -2 costs .2."""
    np.testing.assert_allclose(pinball(np.array([2.0, -2.0, 0.0]), 0.9), [1.8, 0.2, 0.0])
    np.testing.assert_allclose(pinball(np.array([2.0, -2.0]), 0.5), [1.0, 1.0])


def test_without_features_the_heads_are_the_quantiles_of_the_targets() -> None:
    """The card's oracle: 20,001 draws of N(0, 1), the quantiles within .02."""
    targets = np.random.default_rng(0).normal(size=20_001)
    levels = np.array([0.05, 0.5, 0.95])
    heads = fit_quantiles(np.zeros((20_001, 1)), targets, np.ones((20_001, 1)), levels, l2=1e-6)
    np.testing.assert_allclose(heads[0, :, -1], np.quantile(targets, levels), atol=0.02)


def test_two_peaks_are_told_apart_by_the_quantiles_not_by_the_mean() -> None:
    targets = np.concatenate([np.full(500, -1.0), np.full(500, 1.0)]) + np.random.default_rng(1).normal(0, 0.05, 1000)
    heads = fit_quantiles(np.zeros((1000, 1)), targets, np.ones((1000, 1)), np.array([0.25, 0.75]), l2=1e-6)
    low, high = heads[0, :, -1]
    assert abs(low + high) / 2 < 0.05
    assert low == pytest.approx(-1, abs=0.1)
    assert high == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_heads_reach_the_loss_of_an_exact_solver(level: float) -> None:
    """scikit-learn solves the linear programme; at level .5 it is median (L1) regression."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(800, 4))
    y = 10 + 3 * (x @ [1.0, 2.0, -1.0, 0.0] + rng.standard_t(2, size=800) * (1 + 0.5 * np.abs(x[:, 0])))
    head = fit_quantiles(x, y, np.ones((800, 1)), np.array([level]), l2=1e-7, smoothing=0.01)[0, 0]
    exact = QuantileRegressor(quantile=level, alpha=0).fit(x, y)
    ours, theirs = (pinball(y - each, level).mean() for each in (x @ head[:-1] + head[-1], exact.predict(x)))
    assert theirs <= ours < 1.001 * theirs
    assert (y <= x @ head[:-1] + head[-1]).mean() == pytest.approx(level, abs=0.02)


def test_weights_choose_the_rows() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(300, 3)), rng.normal(size=300)
    weights = np.stack([np.ones(300), (np.arange(300) < 150) * 2.0], axis=1)
    levels = np.array([0.3, 0.6])
    both = fit_quantiles(x, y, weights, levels, l2=0.01, tolerance=1e-9)
    assert both.shape == (2, 2, 4)
    scale = y.std() / y[:150].std()
    alone = fit_quantiles(x[:150], y[:150], np.ones((150, 1)), levels, l2=0.01 / scale, smoothing=0.05 * scale)
    # l2 is in units of the targets' spread, of all rows: the loss is divided by it once, |w|^2 twice.
    np.testing.assert_allclose(both[1], alone[0], atol=1e-3)


def test_constant_targets_are_predicted_and_no_step_limit_is_silent() -> None:
    x = np.random.default_rng(4).normal(size=(50, 3))
    heads = fit_quantiles(x, np.full(50, 7.0), np.ones((50, 1)), np.array([0.1, 0.9]), l2=1e-3)
    np.testing.assert_allclose(x @ heads[0, :, :-1].T + heads[0, :, -1], 7, atol=0.2)
    with pytest.raises(FloatingPointError, match="did not converge in 1 steps"):
        fit_quantiles(x, x[:, 0], np.ones((50, 1)), np.array([0.5]), l2=1e-3, max_steps=1)
