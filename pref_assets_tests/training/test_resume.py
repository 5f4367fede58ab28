"""Children killed with SIGKILL in the middle, then run again: the files are those of an uninterrupted run."""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from pref_assets.training.job import Job
from pref_assets.training.reference import ReferenceLogps
from pref_assets.training.run import training_folder
from pref_assets_tests.training import toy
from pref_assets_tests.training.conftest import make_job

STEPS_BEFORE = 7
WORK = """
import pathlib, sys
from pref_assets.training import worker
worker.run(worker.Job.model_validate_json(pathlib.Path(sys.argv[1]).read_text()), worker.Silent())
"""


def start(job: Job) -> "subprocess.Popen[str]":
    path = Path(job.home) / "job.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(job.model_dump_json())
    program = [toy.__file__] if not job.inputs else ["-c", WORK]
    return subprocess.Popen([sys.executable, *program, str(path)], stdout=subprocess.DEVNULL, text=True)


def steps_done(metrics: Path) -> int:
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def kill_in_the_middle(job: Job, metrics: Path) -> int:
    """Steps that were recorded when the child was killed."""
    child = start(job)
    try:
        while steps_done(metrics) < STEPS_BEFORE:
            assert child.poll() is None, "the child ended before it could be killed"
            time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert child.returncode == -signal.SIGKILL
    return steps_done(metrics)


def hashes(folder: Path, pattern: str) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob(pattern))}


def test_full_training_with_dropout_and_carried_values(tmp_path: Path) -> None:
    found = []
    for name in ("whole", "killed"):
        home = tmp_path / name
        settings = {"epochs": 30, "save_every": 3, "early_stop": {"every": 5, "patience": 100}}
        job = Job(task="train_policy", home=str(home), params={"dropout": 0.2, "pause": 0.02, "settings": settings})
        if name == "killed":
            assert STEPS_BEFORE <= kill_in_the_middle(job, home / "toy" / "metrics.jsonl") < 60
            assert not (home / "toy.safetensors").exists()
        assert start(job).wait() == 0
        found.append(hashes(home, "toy.safetensors"))
    assert found[0] == found[1]
    assert len(found[0]) == 1


@pytest.mark.parametrize("lora", [{"dropout": 0.3}, pytest.param(None, marks=pytest.mark.slow)])
def test_a_policy(
    tmp_path: Path, rows: pl.DataFrame, reference: ReferenceLogps, logps: pl.DataFrame, lora: dict[str, float] | None
) -> None:
    found = []
    for name in ("whole", "killed"):
        job = make_job(tmp_path / name, rows, reference, logps, epochs=10, save_every=4, lora=lora)
        if name == "killed":
            work = training_folder(job.home, "p", "dpo", job.params["version"])
            assert STEPS_BEFORE <= kill_in_the_middle(job, work / "metrics.jsonl") < 30
            assert (work / "state.safetensors").exists()
            assert not (tmp_path / name / "checkpoints").exists()
        assert start(job).wait() == 0
        found.append(hashes(tmp_path / name / "checkpoints", "*.safetensors"))
    assert found[0] == found[1]
    assert len(found[0]) == 1
    assert not list((tmp_path / "killed" / "work" / "checkpoints" / "p" / "dpo").iterdir())
