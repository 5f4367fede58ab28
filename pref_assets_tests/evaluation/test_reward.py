"""Reward accuracy and length bias end to end: score tables, a checkpoint, baselines, the store in between."""

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from pref_assets.content import content_hash
from pref_assets.evaluation import EvaluationConfig, LengthBias, RewardAccuracy
from pref_assets.evaluation.base import CheckpointRef, Inputs, evaluate
from pref_assets.evaluation.reward import evaluate_reward_model, score_margins
from pref_assets.features.store import MissingRowsError
from pref_assets.home import Home
from pref_assets.pairs.schema import (
    PAIR_SCORES,
)
from pref_assets.settings import Reference
from pref_assets.training import reward_model
from pref_assets_tests.evaluation.conftest import PAIRS_OF, Quiet

CONFIG = TypeAdapter(EvaluationConfig)


class FakeRewardModel:
    """Scores a text by how many letters e it has."""

    def __init__(self):
        self.asked = []

    def score(self, texts):
        self.asked += texts
        return [float(text.count("e")) for text in texts]


@pytest.fixture
def fake(monkeypatch):
    model = FakeRewardModel()
    monkeypatch.setattr(reward_model, "load_reward_model", lambda folder: model)
    return model


def checkpoint(tmp_path, version="v1"):
    return CheckpointRef("rm", version, "reward_model", tmp_path / "rm")


def scores(**margins):
    rows = [{"score_chosen": m, "score_rejected": 0.0, "pair_id": p, "score": m} for p, m in margins.items()]
    return PAIR_SCORES.frame([{name: row.get(name) for name in PAIR_SCORES.columns} for row in rows])


def with_(inputs, **changed):
    return Inputs(**{**inputs.__dict__, **changed})


def test_checkpoints_scores_and_baselines_share_a_table(inputs, tmp_path, fake):
    strength = scores(**dict.fromkeys(PAIRS_OF, -1.0))
    inputs = with_(inputs, scores={"strength": strength}, checkpoints=[checkpoint(tmp_path)])
    config = RewardAccuracy(scores=["strength"])
    report = Quiet()
    rows = evaluate(config, inputs, Home(tmp_path), lambda job: evaluate_reward_model(job, report))
    values = {row["checkpoint"]: row for row in rows.filter(metric="accuracy", subset="all").to_dicts()}
    assert set(values) == {"rm", "scores/strength", "longer wins", "shorter wins", "random choice"}
    assert values["scores/strength"]["value"] == 0.0
    assert values["scores/strength"]["version"] == content_hash(strength)
    # Letters e in "one 2"/"one two th": tie; "blue"/"blue sky": tie; "no color yet"/"blue sky": tie; then tie, 1 > 0.
    # b1 against b3: 1 and 1. "red" against "tan": 1 and 0.
    assert values["rm"]["value"] == pytest.approx((0.5 * 4 + 1) / 5)
    assert (values["rm"]["version"], values["rm"]["n"], values["rm"]["baseline"]) == ("v1", 5, False)
    assert report.done == [(7, 7, "completions")]


def test_a_second_run_asks_no_model_and_a_new_checkpoint_only_itself(inputs, tmp_path, fake):
    config = RewardAccuracy(save_every=2)
    counted = []

    def run(job):
        counted.append(evaluate_reward_model(job, Quiet()))
        return counted[-1]

    first = evaluate(config, with_(inputs, checkpoints=[checkpoint(tmp_path)]), Home(tmp_path), run)
    again = evaluate(config, with_(inputs, checkpoints=[checkpoint(tmp_path)]), Home(tmp_path), run)
    both = [checkpoint(tmp_path), CheckpointRef("other", "v2", "reward_model", tmp_path)]
    evaluate(config, with_(inputs, checkpoints=both), Home(tmp_path), run)
    # a1 a2 b1 b2 b3 c1 c2 are in held-out pairs.
    assert counted == [
        {"computed": 7, "reused": 0},
        {"computed": 0, "reused": 7},
        {"computed": 7, "reused": 7},
    ]
    assert first.equals(again)
    assert len(fake.asked) == 14
    assert "question q1\n\none 2" in fake.asked


def test_a_killed_task_keeps_what_it_scored(inputs, tmp_path, fake):
    def dies(texts):
        if len(fake.asked) >= 4:
            raise KeyboardInterrupt
        return FakeRewardModel.score(fake, texts)

    config = RewardAccuracy(save_every=2)
    inputs = with_(inputs, checkpoints=[checkpoint(tmp_path)])
    fake.score = dies
    with pytest.raises(KeyboardInterrupt):
        evaluate(config, inputs, Home(tmp_path), lambda job: evaluate_reward_model(job, Quiet()))
    with pytest.raises(MissingRowsError):
        config.rows(inputs, Home(tmp_path))
    del fake.score
    counted = []
    evaluate(config, inputs, Home(tmp_path), lambda job: counted.append(evaluate_reward_model(job, Quiet())))
    assert counted == [{"computed": 3, "reused": 4}]


def test_without_checkpoints_no_job_runs(inputs, tmp_path):
    def never(job):
        raise AssertionError(job)

    rows = evaluate(LengthBias(), inputs, Home(tmp_path), never)
    assert set(rows["checkpoint"]) == {"longer wins", "shorter wins", "random choice"}


def test_scores_that_do_not_say_a_side_are_refused(inputs, tmp_path):
    silent = scores(p1=1.0).with_columns(score_chosen=pl.lit(None, pl.Float64))
    inputs = with_(inputs, scores={"strength": silent})
    with pytest.raises(ValueError, match="scores 'strength' does not say how it scores each side"):
        RewardAccuracy(scores=["strength"]).rows(inputs, Home(tmp_path))


def test_a_prompt_that_is_gone_is_named(inputs, tmp_path):
    broken = with_(
        inputs, prompts=inputs.prompts.filter(pl.col("prompt_id") != "q3"), checkpoints=[checkpoint(tmp_path)]
    )
    with pytest.raises(ValueError, match="completion c1 is in a pair"):
        evaluate(RewardAccuracy(), broken, Home(tmp_path), lambda job: {})


def test_truth_is_read_from_its_location(inputs, truth, tmp_path):
    truth.write_ndjson(tmp_path / "truth.jsonl")
    rows = RewardAccuracy(truth=str(tmp_path / "truth.jsonl")).rows(inputs, Home(tmp_path))
    assert "fault:flip" in set(rows["subset"])
    assert "recorded label" in set(rows["checkpoint"])


def test_references_and_the_union():
    every = CONFIG.validate_python({"type": "reward_accuracy", "scores": ["strength"]})
    assert every.references() == [Reference(("scores",), "scores", "strength")]
    assert (every.checkpoint_kind, every.names()) == ("reward_model", None)
    named = CONFIG.validate_python({"type": "ranking_accuracy", "checkpoints": ["dpo"]})
    assert named.references() == [Reference(("checkpoints",), "checkpoints", "dpo")]
    assert (named.checkpoint_kind, named.names()) == ("policy", ["dpo"])
    with pytest.raises(ValidationError, match="checkpoint"):
        CONFIG.validate_python({"type": "verifier", "checkpoint": "all"})


def test_a_base_name_means_one_model(inputs, tmp_path):
    references = [{"model": "m", "max_length": n} for n in (64, 96)]
    pair = [CheckpointRef(f"d{i}", f"v{i}", "policy", tmp_path, "smol", r) for i, r in enumerate(references)]
    with pytest.raises(ValueError, match="'d0' and 'd1' were trained from 'smol'"):
        with_(inputs, checkpoints=pair)


def test_a_scorer_that_compares_without_scoring_sides_has_its_score_as_margin():
    compared = scores(p1=1.0, p2=-0.5).with_columns(
        score_chosen=pl.lit(None, pl.Float64), score_rejected=pl.lit(None, pl.Float64), p_correct=pl.lit(0.6)
    )
    margins = score_margins("gpm", compared)
    assert margins.frame["margin"].to_list() == compared["score"].to_list()
