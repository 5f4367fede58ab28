from dataclasses import replace

import numpy as np
import pytest

from pref_assets.scoring import Ensemble, HeadEntropy, InfluenceModel, OneStepInfluence, RewardEnsemble, RewardHead
from pref_assets.scoring.base import Scorer
from pref_assets_tests import sweep


def test_scores_are_what_the_head_says_out_of_fold() -> None:
    pool = sweep.known_pool()
    fitted = pool.reward_models["bt"]
    assert not isinstance(fitted, Ensemble)
    found = RewardHead(reward_model="bt").score(pool)
    pairs = pool.pairs.sort("pair_id")
    said = fitted.predict(pool, pairs)
    np.testing.assert_array_equal(found["score"].to_numpy(), said.margin)
    np.testing.assert_array_equal(found["spread"].to_numpy(), said.uncertainty)
    np.testing.assert_allclose(found["p_correct"].to_numpy(), 1 / (1 + np.exp(-fitted.temperature * said.margin)))
    np.testing.assert_allclose((found["score_chosen"] - found["score_rejected"]).to_numpy(), said.margin, atol=1e-9)


def test_a_linear_ensemble_is_refused() -> None:
    with pytest.raises(ValueError, match="score it with `reward_ensemble`"):
        RewardHead(reward_model="heads").score(sweep.known_pool())


@pytest.mark.parametrize(
    "scorer",
    [
        RewardEnsemble(reward_model="bt"),
        HeadEntropy(reward_model="bt"),
        OneStepInfluence(reward_model="bt"),
        InfluenceModel(probe=OneStepInfluence(reward_model="bt"), probes=40),
    ],
)
def test_scorers_that_need_linear_weights_refuse_other_heads(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match="'bt' is a `bt` head"):
        scorer.score(sweep.known_pool())


def test_vectors_of_another_width_are_refused() -> None:
    pool = sweep.known_pool()
    (name,) = pool.embeddings
    narrow = replace(pool.embeddings[name], matrix=pool.embeddings[name].matrix[:, :3])
    with pytest.raises(ValueError, match=f"width .*{name}"):
        RewardHead(reward_model="bt").score(replace(pool, embeddings={name: narrow}))
