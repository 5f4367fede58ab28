"""KL from samples: closed forms on a tabular policy, by hand, and on real models."""

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pref_assets.evaluation.answers import said
from pref_assets.evaluation.divergence import TOKEN_LOGPS, Divergence, k1, k3, token_key
from pref_assets.evaluation.verifier import base_model
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.generation import Sampling
from pref_assets.pairs.schema import completion_id
from pref_assets_tests.evaluation.fake_policies import answered, checkpoint, inputs, prompts, value

SAMPLING = Sampling(temperature=1.0)


def drawn_from(p, r, n, length, seed=0):
    """Log-probabilities of n answers of some tokens, drawn from p, under p and under r."""
    tokens = np.random.default_rng(seed).choice(len(p), p=p, size=(n, length))
    return list(np.log(p)[tokens]), list(np.log(r)[tokens])


def test_both_estimates_are_unbiased_and_k3_is_never_negative():
    p, r = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    exact = 4 * float((p * np.log(p / r)).sum())
    own, reference = drawn_from(p, r, 40_000, 4)
    first, third = k1(own, reference), k3(own, reference)
    assert first.mean() == pytest.approx(exact, abs=4 * first.std() / 200)
    assert third.mean() == pytest.approx(exact, abs=4 * third.std() / 200)
    assert third.std() < first.std()
    assert third.min() >= 0 > first.min()


def test_a_policy_that_did_not_move_is_at_zero():
    own, _ = drawn_from(np.array([0.5, 0.5]), np.array([0.5, 0.5]), 5, 3)
    assert (k1(own, own) == 0).all()
    assert (k3(own, own) == 0).all()


def test_by_hand(tmp_path):
    home = Home(tmp_path)
    dpo = checkpoint("dpo", home)
    answers = {"a": ["x y"], "b": ["z"]}
    answered(home, dpo, SAMPLING, answers)
    ids = {name: completion_id(name, said(texts[0])) for name, texts in answers.items()}
    for model, logps in (
        (dpo.version, {"a": [-1.0, -2.0], "b": [-0.5]}),
        (base_model(dpo), {"a": [-2.0, -2.5], "b": [-0.25]}),
    ):
        frame = pl.DataFrame({"id": [ids["a"], ids["b"]], "logps": [logps["a"], logps["b"]]})
        Store(home.store).append(TOKEN_LOGPS, token_key(model, SAMPLING), frame)
    rows = Divergence(resamples=100).rows(inputs(prompts("a", "b"), dpo), home)
    assert value(rows, "dpo", "kl")["value"] == pytest.approx((1.5 - 0.25) / 2)
    assert value(rows, "dpo", "kl_per_token")["value"] == pytest.approx(1.25 / 3)
    terms = [np.exp(-1) - 1 + 1, np.exp(-0.5) - 1 + 0.5, np.exp(0.25) - 1 - 0.25]
    assert value(rows, "dpo", "kl_k3")["value"] == pytest.approx(sum(terms) / 2)


@pytest.mark.parametrize("sampling", [{"temperature": 0.7}, {"temperature": 1.0, "top_p": 0.9}])
def test_answers_must_be_the_policys_own(sampling):
    with pytest.raises(ValidationError, match="temperature 1 and top_p 1"):
        Divergence(sampling=Sampling(**sampling))
