"""Entry point of heavy work: runs a job in this process, or in a child started by the compute resource."""

from importlib import import_module
from typing import Any

from pref_assets.training.job import Job, Reporter, Task

TASKS: dict[str, str] = {
    "embed": "pref_assets.features.embeddings:embed",
    "reference_logps": "pref_assets.training.reference:reference_logps",
    "train_policy": "pref_assets.training.policy:train_policy",
    "train_reward_model": "pref_assets.training.reward_model:train_reward_model",
    "evaluate_policy": "pref_assets.evaluation.policy:evaluate_policy",
    "evaluate_reward_model": "pref_assets.evaluation.reward:evaluate_reward_model",
}


def run(job: Job, report: Reporter) -> dict[str, Any]:
    """Runs the job here and returns its result."""
    module, _, function = TASKS[job.task].partition(":")
    task: Task = getattr(import_module(module), function)
    return task(job, report)
