"""The worker: every task resolves to its room, progress is said seldom, errors become plain data."""

import sys

import pytest

from pref_assets.training import worker
from pref_assets.training.errors import OutOfMemoryError
from pref_assets.training.job import Job, Reporter
from pref_assets.training.worker import LogReporter, explain


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


def test_progress_and_metrics_are_each_said_once_in_ten_seconds(clock: Clock, said: list[str]) -> None:
    report = LogReporter(said.append, bar=False, clock=clock)
    for second in range(31):
        clock.now = second
        report.progress(second * 1000, 31_000, "rows")
        report.metrics(second, {"loss": 1 / (second + 1)})
    assert said == [
        "10,000 of 31,000 rows",
        "step 10: loss 0.09091",
        "20,000 of 31,000 rows",
        "step 20: loss 0.04762",
        "30,000 of 31,000 rows",
        "step 30: loss 0.03226",
    ]


def test_a_bar_is_drawn_only_where_a_person_watches(said: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    for bar in (False, True):
        report = LogReporter(said.append, bar=bar)
        report.progress(3, 4, "rows")
        report.close()
        assert ("rows/s" in capfd.readouterr().err) is bar


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        (ValueError("no"), False),
        (MemoryError(), True),
        (OutOfMemoryError("lower batch_tokens"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
    ],
)
def test_errors_say_their_type_their_message_and_whether_memory_lacked(error: Exception, lacking: bool) -> None:
    assert explain(error) == {"type": type(error).__name__, "message": str(error), "out_of_memory": lacking}


def test_run_calls_the_task_with_job_and_reporter(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    def task(job: Job, report: Reporter) -> dict[str, int]:
        report.log(f"doing {job.params['n']}")
        return {"n": job.params["n"] + 1}

    monkeypatch.setattr(sys.modules[__name__], "task", task, raising=False)
    monkeypatch.setitem(worker.TASKS, "embed", f"{__name__}:task")
    assert worker.run(Job(task="embed", home="h", params={"n": 1}), LogReporter(said.append, bar=False)) == {"n": 2}
    assert said == ["doing 1"]
