"""Evaluations in a pipeline file: what a judge or an opponent reads is an edge of the graph, yet not measured."""

import pytest
from pydantic import TypeAdapter

from pref_assets.evaluation import EvaluationConfig
from pref_assets.pipeline.assets.evaluations import build
from pref_assets.pipeline.spec import PipelineSpec

CHECKPOINTS = {
    "rm": {"type": "reward_model", "subset": "all"},
    "dpo": {"type": "policy", "subset": "all", "base": "smol"},
    "other": {"type": "policy", "subset": "all", "base": "smol"},
}
JUDGE = {"type": "reward_model", "checkpoint": "rm"}


def spec(**evaluations):
    return PipelineSpec.model_validate(
        {
            "name": "p",
            "sources": {"s": {"type": "trl", "location": "x.jsonl"}},
            "subsets": {"all": {"type": "all"}},
            "reference_logps": {"smol": {}},
            "checkpoints": CHECKPOINTS,
            "evaluations": evaluations,
        }
    )


@pytest.mark.parametrize(
    ("evaluation", "measured", "read"),
    [
        ({"type": "win_rate", "judge": JUDGE}, ["dpo", "other"], {"dpo", "other", "rm"}),
        (
            {"type": "win_rate", "judge": JUDGE, "against": "other", "checkpoints": ["dpo"]},
            ["dpo"],
            {"dpo", "other", "rm"},
        ),
        ({"type": "best_of_n", "judge": JUDGE, "checkpoints": ["dpo"]}, ["dpo"], {"dpo", "rm"}),
        ({"type": "kl"}, ["dpo", "other"], {"dpo", "other"}),
        ({"type": "probe"}, ["rm"], {"rm"}),
        ({"type": "arena"}, [], set()),
    ],
)
def test_what_is_measured_and_what_is_read(evaluation, measured, read):
    whole = spec(e=evaluation)
    assert whole.checkpoints_of(whole.evaluations["e"]) == measured
    [asset] = build(whole)
    keys = {key.path[-1] for key in asset.keys_by_input_name.values() if "checkpoints" in key.path}
    assert keys == read


def test_every_type_is_told_apart_by_its_name():
    schema = TypeAdapter(EvaluationConfig).json_schema()
    assert sorted(schema["discriminator"]["mapping"]) == [
        "arena",
        "best_of_n",
        "calibration",
        "dimension_table",
        "diversity",
        "kl",
        "length_bias",
        "mm_rlhf_bench",
        "probe",
        "ranking_accuracy",
        "reward_accuracy",
        "reward_bench",
        "safety",
        "style_bias",
        "value_drift",
        "verifier",
        "win_rate",
    ]
