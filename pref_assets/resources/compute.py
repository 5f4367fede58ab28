"""Where heavy work runs: in a child process, so that this one stays light and GPU memory is freed, or right here."""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any, Literal

import dagster as dg

from pref_assets.resources.folders import write_atomically
from pref_assets.training import worker
from pref_assets.training.job import Job, work_folder

STDERR_LINES = 20
STOP_SECONDS = 10.0
"""How long a child may take to end when asked, before it is killed."""
_MEMORY_ADVICE = "Retrying is useless: lower the batch size or the length, or choose a smaller model."


Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


class Compute(dg.ConfigurableResource):
    """Runs jobs. A failed job is a ``dagster.Failure`` that says what went wrong where the child ended."""

    mode: Literal["subprocess", "in_process"] = "subprocess"
    """``in_process`` imports torch into the calling process; meant for tests and debuggers."""
    command: list[str] = [sys.executable, "-m", "pref_assets.training.worker"]  # noqa: RUF012 (pydantic copies it)
    """What the child runs; prefix it with a launcher to use several GPUs."""

    def run(self, context: Context, job: Job) -> dict[str, Any]:
        """Runs the job to its end and returns its result.

        Raises:
            dagster.Failure: the job failed. It may be retried, except when the machine has too little memory.
        """
        if self.mode == "in_process":
            return _run_here(context, job)
        return self._run_child(context, job)

    def _run_child(self, context: Context, job: Job) -> dict[str, Any]:
        path = work_folder(job) / "job.json"
        write_atomically(path, job.model_dump_json(indent=1))
        extras = {"job": str(path), "parent": os.getpid(), "bar": sys.stderr.isatty()}
        with dg.open_pipes_session(
            context.op_execution_context,
            dg.PipesTempFileContextInjector(),
            dg.PipesTempFileMessageReader(),
            extras=extras,
        ) as session:
            env = {**os.environ, "PYTHONFAULTHANDLER": "1", **session.get_bootstrap_env_vars()}
            code, stderr = _watch(subprocess.Popen(self.command, env=env, stderr=subprocess.PIPE))
        messages: dict[str, Any] = {}
        for message in session.get_custom_messages():
            messages |= message
        if code == 0 and "result" in messages:
            return messages["result"]
        raise _failure(job, messages.get("error") or _end(code), stderr)


def _run_here(context: Context, job: Job) -> dict[str, Any]:
    report = worker.LogReporter(context.log.info, bar=sys.stderr.isatty())
    try:
        return worker.run(job, report)
    except Exception as error:
        raise _failure(job, worker.explain(error), "") from error
    finally:
        report.close()


def _watch(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    """Exit code and last lines of stderr. The child ends with this call, however the call ends."""
    assert process.stderr is not None
    tail: deque[str] = deque(maxlen=STDERR_LINES)
    reader = threading.Thread(target=_tee, args=(process.stderr, tail), daemon=True)
    reader.start()
    try:
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(STOP_SECONDS)
    return process.returncode, "\n".join(tail)


def _tee(stream: IO[bytes], tail: deque[str]) -> None:
    """Passes the child's stderr on as it comes and keeps its last lines."""
    rest = b""
    while chunk := os.read(stream.fileno(), 65_536):
        os.write(2, chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        tail.extend(_shown(line) for line in lines)
    if rest:
        tail.append(_shown(rest))


def _shown(line: bytes) -> str:
    """A line as a terminal would show it in the end: what a carriage return overwrote is gone."""
    return line.decode(errors="replace").rstrip("\r").rpartition("\r")[2][:500]


def _end(code: int) -> dict[str, Any]:
    """What an exit code says, for a child that could not say it."""
    if code >= 0:
        return {"type": "ChildFailed", "message": f"the child ended with exit code {code} and no result"}
    name = signal.Signals(-code).name
    hint = "; often the system's answer to too little memory" if code == -signal.SIGKILL else ""
    return {"type": "ChildKilled", "message": f"the child was ended by signal {-code} ({name}){hint}"}


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
