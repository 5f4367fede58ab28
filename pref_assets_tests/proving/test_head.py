import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.proving.head import fit_head
from pref_assets.scoring.logistic import fit_heads


def problem(seed: int, n: int = 60, d: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.random(n), rng.integers(1, 4, n).astype(float)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_without_margins_it_is_the_bradley_terry_head_of_the_pipeline(seed: int) -> None:
    x, p, weights = problem(seed)
    weights /= weights.mean()
    expected = fit_heads(x, p, weights[:, None], 0.7)[:, 0]
    assert fit_head(x, p, weights, np.zeros(len(x)), 0.7) == pytest.approx(expected, abs=1e-6)


def test_the_gradient_is_zero_at_the_result_margins_included() -> None:
    x, p, weights = problem(3)
    margins = np.random.default_rng(4).random(len(x))
    head = fit_head(x, p, weights, margins, 0.5)
    shares = weights / weights.mean()

    def objective(w: np.ndarray) -> float:
        d = x @ w
        return float(
            shares @ (p * np.logaddexp(0, margins - d) + (1 - p) * np.logaddexp(0, margins + d)) + 0.25 * w @ w
        )

    steps = np.eye(5) * 1e-5
    slopes = [(objective(head + s) - objective(head - s)) / 2e-5 for s in steps]
    assert slopes == pytest.approx([0] * 5, abs=1e-5)


def test_the_scale_of_weights_says_nothing() -> None:
    x, p, weights = problem(5)
    zeros = np.zeros(len(x))
    assert fit_head(x, p, weights * 10, zeros, 1.0) == pytest.approx(fit_head(x, p, weights, zeros, 1.0))


def test_swapping_sides_swaps_the_label() -> None:
    x, p, weights = problem(6)
    zeros = np.zeros(len(x))
    assert fit_head(-x, 1 - p, weights, zeros, 1.0) == pytest.approx(fit_head(x, p, weights, zeros, 1.0))


def test_no_pairs_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        fit_head(np.empty((0, 3)), np.empty(0), np.empty(0), np.empty(0), 1.0)
