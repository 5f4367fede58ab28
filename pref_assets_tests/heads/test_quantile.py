from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pref_assets.heads import CrossFit, Quantile
from pref_assets.heads.network import Mlp
from pref_assets.heads.quantile import _slopes
from pref_assets_tests.heads.rated import rated_pool

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def config(*attributes: str, **settings: Any) -> Quantile:
    given = {"levels": LEVELS, "cross_fit": CrossFit(folds=2, members=1), **settings}
    return Quantile(embeddings="e", attributes=attributes, **given)


def test_quantiles_rise_and_cover_their_share() -> None:
    pool, _ = rated_pool(1000, ["helpful"], noise=1.0)
    head = config("helpful").fit(pool, pool.candidates())
    test = pool.pairs.filter(split="test")
    ids = test["chosen_id"].to_list() + test["rejected_id"].to_list()
    found = head.quantiles(pool.embeddings["e"].rows(ids).astype(np.float64))[:, 0]
    assert (np.diff(found, axis=1) >= 0).all()
    rated = dict(pool.completions.select("completion_id", "ratings").iter_rows())
    values = np.array([rated[each][0]["value"] for each in ids])
    assert abs(((values >= found[:, 0]) & (values <= found[:, -1])).mean() - 0.9) < 0.04


def test_the_median_alone_is_a_regression_on_it() -> None:
    pool, planted = rated_pool(1000, ["helpful"], noise=0.1)
    head = config("helpful", levels=(0.5,), tail=0.5).fit(pool, pool.candidates())
    np.testing.assert_allclose(head.heads[0, 0, :-1], planted[:, 0], atol=0.03)


def test_the_gate_finds_the_attribute_that_decides() -> None:
    """Pairs are labelled by the first of three attributes."""
    pool, _ = rated_pool(1000, ["a", "b", "c"])
    train, test = pool.candidates(), pool.pairs.filter(split="test")
    gated = config("a", "b", "c").fit(pool, train).predict(pool, test)
    equal = config("a", "b", "c", gate=None).fit(pool, train).predict(pool, test)
    assert gated.details["gate_a"].mean() > 0.7
    np.testing.assert_allclose(sum(gated.details[f"gate_{name}"] for name in "abc"), 1)
    np.testing.assert_allclose(equal.details["gate_b"], 1 / 3)
    assert (gated.margin > 0).mean() > (equal.margin > 0).mean() + 0.05


def test_what_is_linear_in_one_attribute_is_taken_out_of_the_others() -> None:
    rng = np.random.default_rng(0)
    verbose = rng.normal(size=500)
    means = np.stack([2 * verbose + rng.normal(size=500), verbose], axis=1)
    slopes = _slopes(means, 1)
    assert slopes[1] == 0
    left = means[:, 0] - slopes[0] * verbose
    assert abs(np.corrcoef(left, verbose)[0, 1]) < 1e-9
    pool, _ = rated_pool(300, ["a", "b"])
    head = config("a", "b", decorrelate="b", gate=None).fit(pool, pool.candidates())
    train = pool.candidates()
    ids = sorted({*train["chosen_id"], *train["rejected_id"]})
    found = head.quantiles(pool.embeddings["e"].rows(ids).astype(np.float64)).mean(axis=2)
    assert abs(np.corrcoef(found.T)[0, 1]) < 1e-6


def test_raters_who_differ_make_a_pair_uncertain() -> None:
    spreads = []
    for noise in (0.2, 2.0):
        pool, _ = rated_pool(300, ["a"], noise=noise, raters=3)
        said = config("a").fit(pool, pool.candidates()).predict(pool, pool.pairs)
        assert said.uncertainty is not None
        spreads.append(said.uncertainty.mean())
        assert (said.details["iqr_chosen"] > 0).all()
        np.testing.assert_allclose(said.margin, said.score_chosen - said.score_rejected)
    assert spreads[1] > 3 * spreads[0]


def test_heads_come_back() -> None:
    pool, _ = rated_pool(200, ["a", "b"])
    head = config("a", "b", decorrelate="b", gate=Mlp(hidden=(4,)))
    fitted = head.fit(pool, pool.candidates())
    np.testing.assert_array_equal(
        head.restore(fitted.arrays()).predict(pool, pool.pairs).margin, fitted.predict(pool, pool.pairs).margin
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"levels": (0.5, 0.2)}, "rise strictly"),
        ({"levels": (0.5,)}, "no level lies in the tail"),
        ({"decorrelate": "z"}, "'z' is none of the attributes"),
    ],
)
def test_bad_settings_are_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config("a", **settings)
