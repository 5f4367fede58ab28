"""The joint between the graph and heavy work: a job is plain data, and runs the same in any process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from pref_assets.settings import Settings

TaskName = Literal[
    "embed",
    "measure",
    "measured_alone",
    "reference_logps",
    "sample_answers",
    "reward_answers",
    "train_policy",
    "train_reward_model",
    "train_critique_reward",
    "evaluate_policy",
    "evaluate_reward_model",
    "batch_invariance",
]


class Job(Settings):
    """One unit of heavy work, serialisable as JSON so that a child process can take it."""

    task: TaskName
    """Which function does it."""
    home: str
    """The state folder."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The method's settings, dumped."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Named Parquet files that the parent wrote for this job."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Names, versions and paths the task needs beside its settings."""


class Reporter(Protocol):
    """What a task may say while it works."""

    def log(self, message: str) -> None: ...

    def progress(self, done: int, total: int, unit: str) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...


Task = Callable[[Job, Reporter], dict[str, Any]]
"""Does the job and returns a small JSON-serialisable result (counts, paths, metrics)."""


def work_folder(job: Job) -> Path:
    """The job's own folder for inputs and resumable state, named by its content."""
    return Path(job.home) / "work" / f"{job.task}-{job.digest()}"
