"""The implicit reward of a policy: by hand from log-probabilities, and of a policy that was really trained."""

import json
import math
from dataclasses import replace

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pref_assets.evaluation.ranking import POLICY_LOGPS, logps_key
from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.models.loading import load_causal_lm
from pref_assets.scoring.reward import ImplicitReward
from pref_assets.selection.base import decisions
from pref_assets.training import worker
from pref_assets.training.checkpoint import read_manifest
from pref_assets.training.data import encode, training_rows
from pref_assets.training.job import Job
from pref_assets.training.jobs import policy_job
from pref_assets.training.logprobs import completion_logps
from pref_assets.training.policy import PolicyCheckpoint, load_policy
from pref_assets.training.reference import ReferenceLogps, reference_logps, reference_rows
from pref_assets_tests.scoring.reward.conftest import PLAIN, conversation_pool, details, difference_alone, scored
from pref_assets_tests.training.conftest import SUBSET, Recorder, completions_of, message


def training_rows_of(pool):
    chosen = decisions(pool.pairs.select("pair_id", selected=pl.lit(value=True), reason=pl.lit("selected")))
    return training_rows(chosen, pool.pairs, pool.prompts, pool.completions)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, language_model):
    """A policy trained on pairs p0 and p1, with a learning rate that moves it, and a pool that knows all about it."""
    home = tmp_path_factory.mktemp("policy")
    pool, reference = conversation_pool(), ReferenceLogps(model=language_model, max_length=128, batch_tokens=256)
    rows = training_rows_of(pool)
    completions_of(rows).write_parquet(home / "completions.parquet")
    inputs = {"completions": str(home / "completions.parquet")}
    config = reference.model_dump(mode="json")
    reference_logps(Job(task="reference_logps", home=str(home), config=config, inputs=inputs), Recorder())
    logps = reference_rows(Store(Home(home).store), reference, pool.completions["completion_id"].to_list())
    settings = {"subset": "s", "base": "base", "epochs": 3, "learning_rate": 0.02, "batch_tokens": 256}
    policy = PolicyCheckpoint.model_validate(settings)
    folder = worker.run(policy_job(home, "p", "dpo", policy, rows.head(2), reference, logps, SUBSET, {}), Recorder())
    return replace(pool, checkpoints={"dpo": folder["folder"]}, reference_logps={"base": logps}), reference


def test_it_is_beta_times_what_training_changed(tmp_path, trained):
    pool, reference = trained
    scorer = ImplicitReward(checkpoint="dpo", reference="base", beta=0.25, save_every=4, batch_tokens=200)
    found, counted = scored(tmp_path, scorer, pool)
    policy, tokenizer = load_policy(pool.checkpoints["dpo"], "cpu")
    base = load_causal_lm(reference.model, "cpu")
    for i, (asked, *texts) in enumerate(PLAIN):
        items = [encode(tokenizer, asked, message("assistant", text), 128) for text in texts]
        after, before = ([completion_logps(model, [each], 10_000)[0][0] for each in items] for model in (policy, base))
        rewards = [0.25 * (now - then) for now, then in zip(after, before, strict=True)]
        assert [found["score_chosen"][i], found["score_rejected"][i]] == pytest.approx(rewards, abs=1e-3)
        assert details(found, "log_ratio_chosen")[i] == pytest.approx(after[0] - before[0], abs=1e-3)
        assert details(found, "dpo_loss")[i] == pytest.approx(math.log1p(math.exp(rewards[1] - rewards[0])), abs=1e-3)
    assert found["score"].to_list()[:2] == pytest.approx(
        (found["score_chosen"] - found["score_rejected"]).to_list()[:2]
    )
    assert min(found["score"].to_list()[:2]) > 0.05
    assert found["category"].to_list() == ["trained_on", "trained_on", "unseen"]
    assert counted["measured"] == 6
    assert difference_alone(tmp_path, scorer, pool) < 1e-4


def test_what_the_evaluation_measured_is_not_measured_again(tmp_path, trained):
    pool, reference = trained
    scorer = ImplicitReward(checkpoint="dpo", reference="base")
    version = read_manifest(pool.checkpoints["dpo"]).version
    key = logps_key(version, reference.model_dump(mode="json"))
    assert scorer.key(pool) == key
    ids = scorer.items(pool)["id"]
    facts = {"logp": [-1.0] * 6, "n_tokens": [2] * 6, "truncated": [False] * 6}
    Store(Home(tmp_path).store).append(POLICY_LOGPS, key, pl.DataFrame({"id": ids, **facts}))
    assert scored(tmp_path, scorer, pool)[1] == {"measured": 0, "reused": 6, "seconds": pytest.approx(0, abs=5)}


def test_beta_scales_and_order_does_not_matter(trained):
    pool, _ = trained
    measured = pl.DataFrame(
        {
            "id": [f"{side}{i}" for i in range(3) for side in "cr"],
            "logp": [-5.0, -6.0, -7.0, -7.005, -90.0, -3.0],
            "n_tokens": [5, 2, 7, 7, 100, 2],
            "truncated": [False] * 6,
        }
    )
    same = pool.reference_logps["base"].with_columns(logp=pl.lit(-4.0))
    pool = replace(pool, reference_logps={"base": same})
    found = ImplicitReward(checkpoint="dpo", reference="base", beta=0.1).combine(pool, measured)
    assert found["score"].to_list() == pytest.approx([0.1, 0.0005, -8.7])
    assert details(found, "rank_correct") == [1.0, 0.5, 0.0]
    assert details(found, "rank_correct_ln") == [1.0, 1.0, 1.0]
    assert details(found, "dpo_loss")[2] == pytest.approx(8.7 + math.log1p(math.exp(-8.7)))
    double = ImplicitReward(checkpoint="dpo", reference="base", beta=0.2).combine(pool, measured.reverse())
    assert double["score"].to_list() == pytest.approx((2 * found["score"]).to_list())
    mean = ImplicitReward(checkpoint="dpo", reference="base", rank_by="mean").combine(pool, measured)
    assert mean["score"].to_list() == pytest.approx([-0.15, -0.30025, -4.25])
    assert_frame_equal(mean.drop("score"), found.drop("score"))


def test_another_reference_is_refused(trained):
    pool, _ = trained
    scorer = ImplicitReward(checkpoint="dpo", reference="base")
    other = pool.reference_logps["base"].with_columns(key=pl.lit("other"))
    with pytest.raises(ValueError, match=r"policy 'dpo' started from .* at max_length 128.*of another model or length"):
        scorer.key(replace(pool, reference_logps={"base": other}))
    few = replace(pool, reference_logps={"base": pool.reference_logps["base"].head(1)})
    measured = pool.reference_logps["base"].rename({"completion_id": "id"})
    with pytest.raises(ValueError, match="3 of 3 pairs have no usable log-probability in reference_logps 'base'"):
        scorer.combine(few, measured)


def test_a_checkpoint_that_is_no_policy_is_refused(tmp_path, trained):
    pool, _ = trained
    manifest = read_manifest(pool.checkpoints["dpo"]).model_dump(mode="json") | {"kind": "reward_model"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="checkpoint 'dpo' is a reward_model, not a policy"):
        ImplicitReward(checkpoint="dpo", reference="base").key(replace(pool, checkpoints={"dpo": str(tmp_path)}))
