"""The policy that meets DPO's objective exactly: reach, flip rule, tabular optimum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pref_assets.evaluation.idealised import ideal_log_ratio, ipo_threshold
from pref_assets.scoring.reward.difficulty import flip_threshold_loss


def ratio(reference, share, beta=0.1):
    return float(ideal_log_ratio(np.array([reference]), np.array([share]), beta)[0])


def test_the_reach_of_a_share():
    # At beta .1 three quarters of the votes mend a mistake of the reference of at most 10.986 nats.
    assert ratio(-10.98, 0.75) > 0 > ratio(-10.99, 0.75)
    assert ratio(0.0, 0.75) == pytest.approx(10.986, abs=1e-3)
    assert ratio(3.0, 0.5) == 3.0
    assert ratio(0.0, 1.0) == pytest.approx(np.log(999) / 0.1)


@given(st.floats(-200, 200), st.floats(0.51, 0.99), st.floats(0.01, 2))
def test_it_is_the_tabular_optimum(reference, share, beta):
    """The derivative of the expected DPO loss by the policy's log-ratio is zero there."""
    moved = ratio(reference, share, beta) - reference
    assert 1 / (1 + np.exp(-beta * moved)) == pytest.approx(share)


@given(st.floats(-100, 100), st.floats(-200, 200), st.floats(0.01, 1))
def test_the_flip_rule(c, log_ratio, beta):
    """A policy ranks a pair right exactly when its loss is below the threshold of the reference's mistake c."""
    if abs(log_ratio) < 1e-6:
        return
    loss = np.logaddexp(0, -beta * (log_ratio + c))
    threshold = flip_threshold_loss(np.array([c]), beta)[0]
    if abs(loss - threshold) > 1e-12:
        assert (log_ratio > 0) == (loss < threshold)


def test_thresholds_of_the_paper():
    found = flip_threshold_loss(np.array([0.0, 10.0, 50.0, 100.0]), 0.1)
    assert found == pytest.approx([0.6931, 0.3133, 0.0067, 4.5e-5], abs=5e-5)
    assert ipo_threshold(0.1) == -5.0
