"""Every objective trains through the job that the pipeline runs: two steps on the tiny model, and what it makes loads.

Each member of the union has its entries in ``SETTINGS``; an entry adds what its rows need by a change in ``ROWS``.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.training.job import Job
from pref_assets.training.jobs import policy_job
from pref_assets.training.objectives import Objective, ObjectiveConfig
from pref_assets.training.policy import PolicyCheckpoint, load_policy, train_policy
from pref_assets.training.reference import ReferenceLogps, reference_logps, reference_rows
from pref_assets_tests.training import conftest
from pref_assets_tests.training.conftest import SUBSET, Recorder, completions_of, make_rows
from pref_assets_tests.training.objectives.laws import of_sentences, of_two_prompts, with_columns, with_text

SIGNS = {"chosen": 1, "rejected": -1}
DRAWN = {"share": 1.0, "tokens": 2.0, "sampler_logp": -20.0, "reward": 0.5}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "bco": [{}],
    "cpo": [{}, {"loss_type": "simpo", "beta": 2.0, "cpo_alpha": 0.0}],
    "crm": [{"noise": 0.4, "ramp_steps": 0}, {"noise": 0.4, "ramp_steps": 0, "peer": "rm"}],
    "dcpo": [{}],
    "dove": [{}],
    "dpo": [{}, {"loss_type": ["sigmoid", "bco_pair", "sft"], "ld_alpha": 0.5, "use_weighting": True}],
    "flip_dpo": [{}, {"flips": "rm"}, {"flips": "rm", "correction": "backward"}],
    "gpo": [{"scores": "rm", "beta": 0.1}],
    "hierarchical_dpo": [{}],
    "hypo": [{"lam": 0.1, "max_new_tokens": 4}],
    "kto": [{}],
    "mapl": [{}],
    "mapo": [{}],
    "mm_dpo": [{"delta": "rm"}, {"scaling": "implicit", "sft": 0.25}],
    "mmpo": [{"scores": "rm"}],
    "orpo": [{}, {"likelihood_of": "conversation"}],
    "policy_gradient": [{}, {"per_token": False, "clip": None, "kl": 0.0}],
    "rankdpo": [{"scores": "rm"}],
    "rdpo": [{"gamma": 0.1}, {"gamma": 0.1, "form": "logsigmoid", "shuffled": True}],
    "selm": [{"alpha": 1.0}, {"alpha": 1.0, "samples": 2, "max_new_tokens": 4}],
    "sft": [{}],
    "smpo": [{}, {"scores": "rm"}],
    "spo": [{}, {"extractor": "tfidf"}],
    "step_dpo": [{}, {"confidence": "rm"}],
    "token_dpo": [{"untouched": 0.1}],
}
ROWS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "crm": with_columns(peer=lambda i: i),
    "dcpo": of_sentences,
    "dove": of_two_prompts,
    "flip_dpo": with_columns(doubt=lambda i: 0.6 + i / 20),
    "gpo": with_columns(s_chosen=lambda i: 0.1 * i, s_rejected=lambda i: -0.2),
    "hierarchical_dpo": of_sentences,
    "mapl": of_sentences,
    "mm_dpo": with_columns(delta=lambda i: i - 1),
    "mmpo": with_columns(gap=lambda i: i - 1),
    "policy_gradient": with_columns(
        **{f"advantage_{side}": (lambda i, sign=sign: sign * (1 + i / 10)) for side, sign in SIGNS.items()},
        **{f"{name}_{side}": (lambda i, value=value: value) for side in SIGNS for name, value in DRAWN.items()},
    ),
    "rankdpo": with_columns(
        phi_chosen=lambda i: 0.9, phi_rejected=lambda i: i / 10, rank_chosen=lambda i: 1, rank_rejected=lambda i: 2
    ),
    "rdpo": with_text("rationale"),
    "selm": with_text("sampled"),
    "smpo": with_columns(gap=lambda i: i - 1.5),
    "spo": of_sentences,
    "step_dpo": with_columns(confidence=lambda i: 0.5 + i / 20),
}
"""What a type's rows need beside texts and labels, such as ``columns``."""


def members() -> set[type[Objective]]:
    """Classes in the union."""
    union, _ = get_args(ObjectiveConfig)
    return set(get_args(union))


def cases() -> list[Any]:
    return [
        pytest.param({"type": name, **settings}, id=f"{name}-{i}" if i else name)
        for name, entries in SETTINGS.items()
        for i, settings in enumerate(entries)
    ]


def test_every_member_has_an_entry():
    assert set(SETTINGS) == {member.model_fields["type"].default for member in members()}
    assert set(ROWS) <= set(SETTINGS)


def known(home: Path, objective: Objective, rows: pl.DataFrame, reference: ReferenceLogps) -> pl.DataFrame:
    """Reference log-probabilities of the rows' sides and of the objective's further sequences."""
    if objective.reference_free:
        return reference_rows(Store(Home(home).store), reference, [])
    parts = objective.parts(rows, 0).filter(~pl.col("part").is_in(list(objective.parts_without_reference)))
    further = parts.select("prompt", completion_id="sequence_id", messages="completion")
    wanted = pl.concat([completions_of(rows), further.select("completion_id", "prompt", "messages")])
    wanted = wanted.unique("completion_id", maintain_order=True)
    wanted.write_parquet(home / "wanted.parquet")
    config, inputs = reference.model_dump(mode="json"), {"completions": str(home / "wanted.parquet")}
    reference_logps(Job(task="reference_logps", home=str(home), config=config, inputs=inputs), Recorder())
    return reference_rows(Store(Home(home).store), reference, wanted["completion_id"].to_list())


@pytest.mark.parametrize("settings", cases())
def test_trains_two_steps_and_loads(settings, tmp_path, reference):
    rows = ROWS.get(settings["type"], lambda frame: frame)(make_rows())
    config = PolicyCheckpoint.model_validate(
        {**conftest.SETTINGS, "epochs": 1, "batch_pairs": 3, "objective": settings}
    )
    reference = reference.model_copy(update={"tokens": config.objective.reference_tokens})
    logps = known(tmp_path, config.objective, rows, reference)
    report = Recorder()
    job = policy_job(tmp_path, "p", "checkpoint", config, rows, reference, logps, SUBSET, {})
    result = train_policy(job, report)
    assert result["steps"] == 2
    for _, metrics in report.steps:
        assert all(math.isfinite(metrics[name]) for name in ("loss", "rewards/chosen", "grad_norm"))
        assert metrics["grad_norm"] > 0
    load_policy(result["folder"])
