"""The compute resource against real children: results, errors, kills, and a parent that dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pref_assets.resources.compute import Compute
from pref_assets.resources.compute.child import shown
from pref_assets.training import worker
from pref_assets.training.job import Job, work_folder
from pref_assets_tests.resources import child

CHILD = [sys.executable, child.__file__]


def run(tmp_path: Path, do: str, compute: Compute | None = None) -> tuple[dict[str, Any] | None, dg.Failure | None]:
    """Result and failure of the job inside a real step."""
    caught: list[dg.Failure] = []

    @dg.asset
    def work(context: dg.AssetExecutionContext, compute: Compute) -> dg.MaterializeResult[None]:
        try:
            result = compute.run(context, Job(task="embed", home=str(tmp_path), params={"do": do}))
        except dg.Failure as failure:
            caught.append(failure)
            raise
        return dg.MaterializeResult(metadata={"result": result})

    resources = {"compute": compute or Compute(command=CHILD)}
    done = dg.materialize([work], resources=resources, raise_on_error=False)
    if not done.success:
        return None, caught[0]
    (event,) = done.asset_materializations_for_node("work")
    return dict(event.metadata["result"].value), None  # type: ignore[arg-type]


def test_the_result_arrives_and_torch_stays_in_the_child(tmp_path: Path) -> None:
    result, _ = run(tmp_path, "modules")
    assert result is not None
    assert (result["torch"], result["dagster"]) == (True, False)
    assert result["pid"] != os.getpid()
    assert Job.model_validate_json(
        (work_folder(Job(task="embed", home=str(tmp_path), params={"do": "modules"})) / "job.json").read_text()
    ).params == {"do": "modules"}


def test_a_light_parent_stays_light() -> None:
    script = "import sys, pref_assets.resources.compute; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


def test_the_childs_error_is_the_failure(tmp_path: Path) -> None:
    _, failure = run(tmp_path, "raise")
    assert failure is not None
    assert failure.description == "embed failed: ValueError: row 7 has no prompt"
    assert failure.allow_retries
    assert "row 7 has no prompt" in str(failure.metadata["stderr"].value)
    assert str(failure.metadata["work_folder"].value).startswith(str(tmp_path))


def test_too_little_memory_is_not_retried(tmp_path: Path) -> None:
    _, failure = run(tmp_path, "too big")
    assert failure is not None
    assert "MemoryError: could not allocate 99 GiB Retrying is useless: lower" in str(failure.description)
    assert not failure.allow_retries


def test_a_killed_child_is_named_with_its_last_words(tmp_path: Path) -> None:
    _, failure = run(tmp_path, "die")
    assert failure is not None
    assert "ended by signal 9 (SIGKILL)" in str(failure.description)
    assert "last words" in str(failure.metadata["stderr"].value)


def test_a_child_without_a_result_is_a_failure(tmp_path: Path) -> None:
    _, failure = run(tmp_path, "exit")
    assert failure is not None
    assert "exit code 3 and no result" in str(failure.description)


def test_in_process_fails_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(worker.TASKS, "embed", f"{child.__name__}:task")
    result, _ = run(tmp_path, "modules", Compute(mode="in_process"))
    assert result is not None
    assert result["pid"] == os.getpid()
    _, failure = run(tmp_path, "raise", Compute(mode="in_process"))
    assert failure is not None
    assert failure.description == "embed failed: ValueError: row 7 has no prompt"
    assert isinstance(failure.__cause__, ValueError)


PARENT = """
import sys
from pathlib import Path
from pref_assets_tests.resources.test_compute import run
run(Path(sys.argv[1]), "sleep")
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_child_ends_with_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    pid = int(next(line for line in parent.stderr if line.startswith("sleeping")).split()[1])
    parent.send_signal(how)
    parent.wait(timeout=20)
    deadline = time.monotonic() + 10
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running(pid)


def running(pid: int) -> bool:
    """Whether the process works; one that ended but was not collected yet (a zombie) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_bar_overwrote_is_not_in_the_last_lines() -> None:
    assert shown(b"10%\r50%\r100%\r") == "100%"
    assert shown("é".encode()[:1]) == "�"
