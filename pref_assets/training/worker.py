"""Entry point of heavy work: runs a job in this process, or in a child started by the compute resource.

The child (``python -m pref_assets.training.worker``) talks to its parent through Dagster Pipes and never imports
Dagster itself. It ends when its parent does, so that nothing trains on unseen.
"""

import json
import logging
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pref_assets.home import Home
from pref_assets.training.job import Job, Reporter, Task

if TYPE_CHECKING:
    from tqdm import tqdm

TASKS: dict[str, str] = {
    "embed": "pref_assets.features.embeddings:embed",
    "measure": "pref_assets.scoring.measure:measure",
    "measured_alone": "pref_assets.scoring.measure:measured_alone",
    "reference_logps": "pref_assets.training.reference:reference_logps",
    "sample_answers": "pref_assets.training.online.sampling:sample_answers",
    "reward_answers": "pref_assets.training.online.rewards:reward_answers",
    "train_policy": "pref_assets.training.policy:train_policy",
    "train_reward_model": "pref_assets.training.reward_model:train_reward_model",
    "train_critique_reward": "pref_assets.training.critique_reward:train_critique_reward",
    "evaluate_policy": "pref_assets.evaluation.policy:evaluate_policy",
    "evaluate_reward_model": "pref_assets.evaluation.reward:evaluate_reward_model",
    "batch_invariance": "pref_assets.training.invariance:batch_invariance",
}
DISTRIBUTED = frozenset({"train_policy", "train_reward_model", "train_critique_reward"})
"""Tasks that several processes can share; every other one runs in a single process."""
PARENT = "PREF_ASSETS_PARENT"
"""Variable with the process that started the worker on this machine; without it nobody is watched."""
FAREWELL_SECONDS = 5.0
LOG_SECONDS = 10.0
"""At most one line of progress, and one of metrics, in this time."""
PARENT_POLL_SECONDS = 1.0
_OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")


def run(job: Job, report: Reporter) -> dict[str, Any]:
    """Runs the job here and returns its result."""
    module, _, function = TASKS[job.task].partition(":")
    task: Task = getattr(import_module(module), function)
    with Home(Path(job.home)).current():
        return task(job, report)


class LogReporter:
    """Says what a task does in a log, a line every ``LOG_SECONDS``, and as a bar where a person watches."""

    def __init__(self, log: Callable[[str], None], bar: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.log = log
        self._show_bar = bar
        self._clock = clock
        self._bar: tqdm[Any] | None = None
        self._said = {"progress": clock(), "metrics": clock()}

    def progress(self, done: int, total: int, unit: str) -> None:
        """``done`` of ``total``; a bar is started anew when the unit changes."""
        if self._show_bar:
            self._draw(done, total, unit)
        if self._due("progress"):
            self.log(f"{done:,} of {total:,} {unit}")

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        if self._due("metrics"):
            self.log(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _due(self, what: str) -> bool:
        now = self._clock()
        if now - self._said[what] < LOG_SECONDS:
            return False
        self._said[what] = now
        return True

    def _draw(self, done: int, total: int, unit: str) -> None:
        from tqdm import tqdm

        if self._bar is None or self._bar.unit != unit or self._bar.total != total:
            self.close()
            self._bar = tqdm(total=total, unit=unit, leave=False)
        self._bar.update(done - self._bar.n)


class Silent:
    """A reporter that says nothing."""

    def log(self, message: str) -> None: ...

    def progress(self, done: int, total: int, unit: str) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...


def explain(error: BaseException) -> dict[str, Any]:
    """An error as plain data: its type, its message, and whether the machine was too small for the job."""
    lacking = any(kind.__name__ in _OUT_OF_MEMORY for kind in type(error).__mro__)
    lacking = lacking or "out of memory" in str(error).lower() or "can't allocate memory" in str(error)
    return {"type": type(error).__name__, "message": str(error), "out_of_memory": lacking}


def end_with_parent(parent: int, poll: float = PARENT_POLL_SECONDS) -> None:
    """Ends this process soon after ``parent`` is gone, however it went (a kill gives it no chance to say so)."""
    adopted = os.getppid()

    def watch() -> None:
        while os.getppid() == adopted and alive(parent):
            time.sleep(poll)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def alive(pid: int) -> bool:
    """Whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main() -> int:
    """Does the job that the parent wrote down and leaves its outcome beside it: 0 with a result, 1 with an error.

    Under a launcher (``RANK`` above 0) this may be a helper of the main process: it says nothing, and leaves a word
    only when it fails.
    """
    from dagster_pipes import PipesDefaultContextLoader, PipesEnvVarParamsLoader, open_dagster_pipes

    # The job's own progress is enough; libraries read these when they are imported.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logging.basicConfig(level=logging.WARNING)
    if PARENT in os.environ:
        end_with_parent(int(os.environ[PARENT]))
    if rank := int(os.environ.get("RANK", "0")):
        params = PipesEnvVarParamsLoader().load_context_params()
        with PipesDefaultContextLoader().load_context(params) as context:
            extras = context["extras"] or {}
        return _help(extras, rank)
    with open_dagster_pipes() as pipes:
        report = LogReporter(pipes.log.info, bar=pipes.extras["bar"])
        outcome = Path(pipes.extras["outcome"])
        try:
            result = run(_job(pipes.extras["job"]), report)
        except Exception as error:
            traceback.print_exc()
            if outcome.parent.is_dir():
                _write(outcome, {"error": explain(error)})
            else:
                pipes.log.error(str(error))
            return 1
        finally:
            report.close()
        _write(outcome, {"result": result})
    _leave()
    return 0


def _help(extras: Mapping[str, Any], rank: int) -> int:
    """What a process beside the main one does."""
    outcome = Path(extras["outcome"])
    try:
        run(_job(extras["job"]), Silent())
    except Exception as error:
        traceback.print_exc()
        _write(outcome.with_name(f"{outcome.name}.{rank}"), {"error": explain(error)})
        # The launcher ends all processes when the first one ends badly: leave the main one time to say why.
        deadline = time.monotonic() + FAREWELL_SECONDS
        while not outcome.exists() and time.monotonic() < deadline:
            time.sleep(PARENT_POLL_SECONDS / 10)
        return 1
    _leave()
    return 0


def _leave() -> None:
    from pref_assets.training.world import World

    World.join().leave()


def _job(path: str) -> Job:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path} is not visible on {os.uname().nodename}: the state folder (PREF_ASSETS_HOME) must be at the same "
            "path here"
        )
    return Job.model_validate_json(Path(path).read_text())


def _write(path: Path, outcome: Mapping[str, Any]) -> None:
    """A reader sees all of it or nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(outcome))
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
