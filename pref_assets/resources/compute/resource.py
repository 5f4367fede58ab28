"""The resource that runs jobs. Whatever the place, the same worker does the same job and leaves its outcome."""

import json
import signal
import sys
import uuid
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field, model_validator

from pref_assets.resources.compute.child import Ended, run_child
from pref_assets.resources.compute.launcher import launched
from pref_assets.resources.compute.on_kubernetes import Kubernetes, run_pod
from pref_assets.resources.compute.on_ray import Ray, run_on_ray
from pref_assets.resources.folders import write_atomically
from pref_assets.training import worker
from pref_assets.training.job import Job, work_folder

_MEMORY_ADVICE = "Retrying is useless: lower the batch size or the length, or choose a smaller model."

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
Mode = Literal["subprocess", "in_process", "accelerate", "ray", "kubernetes"]


class Compute(dg.ConfigurableResource):
    """Runs jobs. A failed job is a ``dagster.Failure`` that says what went wrong where the work was done."""

    mode: Mode = "subprocess"
    """``subprocess``: a child of this process. ``accelerate``: children under ``accelerate launch``, for training.
    ``ray``: a child of a Ray task. ``kubernetes``: a pod. ``in_process`` imports torch into the calling process; meant
    for tests and debuggers."""
    command: list[str] = ["python", "-m", "pref_assets.training.worker"]  # noqa: RUF012 (pydantic copies it)
    """What does a job; ``python`` is the interpreter of the place where it runs."""
    processes: int = Field(default=1, ge=1)
    """Processes that train one model together, on one machine; with GPUs, one for each. Other work takes one."""
    cpu: bool = False
    """Hide GPUs from the work."""
    ray: Ray = Ray()
    """For mode ``ray``."""
    kubernetes: Kubernetes | None = None
    """For mode ``kubernetes``."""

    @model_validator(mode="after")
    def _complete(self) -> "Compute":
        if self.mode == "kubernetes" and self.kubernetes is None:
            raise ValueError("mode `kubernetes` needs `kubernetes:` with the image and the volume of the state folder")
        if self.processes > 1 and self.mode in ("subprocess", "in_process"):
            raise ValueError(f"mode `{self.mode}` has one process; use `accelerate` for {self.processes}")
        return self

    def run(self, context: Context, job: Job) -> dict[str, Any]:
        """Runs the job to its end and returns its result.

        Raises:
            dagster.Failure: the job failed. It may be retried, except when the machine has too little memory.
        """
        if self.mode == "in_process":
            return _run_here(context, job)
        folder = work_folder(job)
        job_file, outcome = folder / "job.json", folder / f"outcome-{uuid.uuid4().hex}.json"
        write_atomically(job_file, job.model_dump_json(indent=1))
        extras = {"job": str(job_file), "outcome": str(outcome), "bar": self._bar()}
        command = launched(self.command, job, self.processes, always=self.mode == "accelerate")
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if self.cpu else {}
        try:
            if self.mode == "ray":
                ended = run_on_ray(context.op_execution_context, self.ray, command, hidden, extras)
            elif self.mode == "kubernetes":
                assert self.kubernetes is not None
                ended = run_pod(context.op_execution_context, self.kubernetes, command, hidden, extras, job.home)
            else:
                ended = _run_child(context, command, hidden, extras)
            answer = _answer(outcome)
        finally:
            for left in folder.glob(f"{outcome.name}*"):
                left.unlink()
        if ended.code == 0 and "result" in answer:
            return answer["result"]
        raise _failure(job, answer.get("error") or _end(ended), ended.stderr)

    def _bar(self) -> bool:
        """Whether a person watches the worker's stderr."""
        return self.mode in ("subprocess", "accelerate") and sys.stderr.isatty()


def _run_child(context: Context, command: list[str], env: dict[str, str], extras: dict[str, Any]) -> Ended:
    with dg.open_pipes_session(
        context.op_execution_context,
        dg.PipesTempFileContextInjector(),
        dg.PipesTempFileMessageReader(),
        extras=extras,
    ) as session:
        return run_child(command, {**session.get_bootstrap_env_vars(), **env})


def _run_here(context: Context, job: Job) -> dict[str, Any]:
    report = worker.LogReporter(context.log.info, bar=sys.stderr.isatty())
    try:
        return worker.run(job, report)
    except Exception as error:
        raise _failure(job, worker.explain(error), "") from error
    finally:
        report.close()


def _answer(outcome: Path) -> dict[str, Any]:
    """What the main process left, or else another one; empty when all died without a word."""
    for path in (outcome, *sorted(outcome.parent.glob(f"{outcome.name}.*"))):
        if path.exists():
            return json.loads(path.read_text())
    return {}


def _end(ended: Ended) -> dict[str, Any]:
    """What an exit code says, for a child that could not say it."""
    if ended.code >= 0:
        return {"type": "ChildFailed", "message": f"the child ended with exit code {ended.code} and no result"}
    name = signal.Signals(-ended.code).name
    hint = "; often the system's answer to too little memory" if ended.code == -signal.SIGKILL else ""
    return {"type": "ChildKilled", "message": f"the child was ended by signal {-ended.code} ({name}){hint}"}


def _failure(job: Job, error: dict[str, Any], stderr: str) -> dg.Failure:
    lacking = bool(error.get("out_of_memory"))
    metadata: dict[str, Any] = {"task": job.task, "work_folder": dg.MetadataValue.path(str(Path(work_folder(job))))}
    if stderr:
        metadata["stderr"] = dg.MetadataValue.md(f"```\n{stderr}\n```")
    return dg.Failure(
        f"{job.task} failed: {error['type']}: {error['message']}" + (f" {_MEMORY_ADVICE}" if lacking else ""),
        metadata=metadata,
        allow_retries=not lacking,
    )
