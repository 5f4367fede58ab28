import numpy as np
import pytest

from pref_assets.scoring.calibration import fit_temperature, probability, reliability


def test_the_temperature_by_hand() -> None:
    """Margin 2, right three times of four: s(2 a) = 3/4, so a = log(3) / 2."""
    temperature = fit_temperature(np.full(4, 2.0), np.array([1.0, 1, 1, 0]))
    assert temperature == pytest.approx(np.log(3) / 2)
    assert probability(np.array([2.0, -2.0, 0.0]), temperature) == pytest.approx([0.75, 0.25, 0.5])


def test_the_planted_temperature_is_found_whichever_way_pairs_are_turned() -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(size=40_000)
    p = (rng.random(40_000) < 1 / (1 + np.exp(-2.5 * margins))).astype(float)
    temperature = fit_temperature(margins, p)
    assert temperature == pytest.approx(2.5, abs=0.1)
    turned = np.where(rng.random(40_000) < 0.5, -1, 1)
    assert fit_temperature(margins * turned, np.where(turned > 0, p, 1 - p)) == pytest.approx(temperature)
    assert reliability(margins, p, temperature)["ece"] < 0.01
    assert reliability(margins, p, 5 * temperature)["ece"] > 0.1


def test_margins_that_point_the_wrong_way_say_nothing() -> None:
    assert fit_temperature(np.array([-1.0, -2.0]), np.ones(2)) == 0
    assert fit_temperature(np.zeros(3), np.ones(3)) == 0


def test_perfect_margins_end_at_the_bound() -> None:
    assert fit_temperature(np.array([1.0, 4.0]), np.ones(2)) == pytest.approx(25)


def test_reliability_by_hand() -> None:
    """Four pairs at p = .75, three right: accuracy .75, no gap, Brier .75 * .0625 + .25 * .5625 = .1875."""
    numbers = reliability(np.full(4, 2.0), np.array([1.0, 1, 1, 0]), np.log(3) / 2)
    assert numbers == pytest.approx({"accuracy": 0.75, "ece": 0.0, "brier": 0.1875})


def test_the_gap_counts_by_bin() -> None:
    """p = .95 and p = .55 (one pair each), both wrong: gaps .95 and .55 in two bins, mean .75."""
    margins = np.log([0.95 / 0.05, 0.55 / 0.45])
    assert reliability(margins, np.zeros(2), 1.0)["ece"] == pytest.approx(0.75)
