"""One job in several places: under ``accelerate launch`` with two CPU processes, and on a local Ray cluster."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from pref_assets.resources.compute import Compute, on_ray
from pref_assets.resources.compute.launcher import launched
from pref_assets.training.checkpoint import read_manifest
from pref_assets.training.job import Job
from pref_assets.training.reference import ReferenceLogps
from pref_assets_tests.training import toy
from pref_assets_tests.training.conftest import logps, make_job, make_rows, reference, tiny

__all__ = ["logps", "reference", "tiny"]

TOY = [sys.executable, toy.__file__]


def run(job: Job, compute: Compute) -> tuple[dict[str, Any] | None, dg.Failure | None]:
    """Result and failure of the job inside a real step."""
    results: list[dict[str, Any]] = []
    caught: list[dg.Failure] = []

    @dg.asset
    def work(context: dg.AssetExecutionContext, compute: Compute) -> None:
        try:
            results.append(compute.run(context, job))
        except dg.Failure as failure:
            caught.append(failure)
            raise

    dg.materialize([work], resources={"compute": compute}, raise_on_error=False)
    return (results or [None])[0], (caught or [None])[0]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The order in which a CPU sums does not depend on the place."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    if before is None:
        del os.environ["OMP_NUM_THREADS"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, reference: ReferenceLogps, logps: pl.DataFrame) -> dict[str, Any]:
    """The policy that a plain child trains."""
    job = make_job(tmp_path_factory.mktemp("alone"), make_rows(), reference, logps, learning_rate=1e-3)
    result, failure = run(job, Compute(cpu=True))
    assert result is not None, failure
    return result


def adapter(result: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(Path(result["folder"]) / "adapter_model.safetensors")


def test_two_processes_train_the_policy_of_one(
    tmp_path: Path, alone: dict[str, Any], reference: ReferenceLogps, logps: pl.DataFrame
) -> None:
    # Five rows in batches of two: the last batch leaves a process without rows.
    job = make_job(tmp_path, make_rows(), reference, logps, learning_rate=1e-3)
    result, failure = run(job, Compute(mode="accelerate", processes=2, cpu=True))
    assert result is not None, failure
    expected, found = adapter(alone), adapter(result)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)
    assert (result["world_size"], alone["world_size"]) == (2, 1)
    assert result["tokens"] == alone["tokens"]
    assert result["version"] == alone["version"]
    for name in ("loss", "rewards/margins", "rewards/chosen", "grad_norm"):
        assert result["metrics"][name] == pytest.approx(alone["metrics"][name], rel=1e-3, abs=1e-4)
    manifest = read_manifest(result["folder"])
    assert manifest.run["world_size"] == 2
    assert len((Path(result["folder"]) / "metrics.jsonl").read_text().splitlines()) == alone["steps"]
    assert not list((tmp_path / "work").glob("train_policy-*/outcome*"))


def test_two_processes_carry_values_and_stop_early_as_one(tmp_path: Path) -> None:
    found = []
    for name, compute in {
        "one": Compute(command=TOY),
        "two": Compute(mode="accelerate", processes=2, cpu=True, command=TOY),
    }.items():
        settings = {"epochs": 30, "early_stop": {"every": 2, "patience": 2, "min_delta": 0.01}}
        job = Job(task="train_policy", home=str(tmp_path / name), params={"settings": settings})
        result, failure = run(job, compute)
        assert result is not None, failure
        found.append((result, load_file(tmp_path / name / "toy.safetensors")))
    (one, expected), (two, tensors) = found
    assert two["metrics"]["world_size"] == 2
    assert one["tokens"] == two["tokens"]
    for name, tensor in expected.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-9, atol=1e-12)
    assert two["metrics"]["heldout/loss"] == pytest.approx(one["metrics"]["heldout/loss"], rel=1e-9)


def test_an_error_in_any_process_is_the_failure(tmp_path: Path) -> None:
    # Of the first batch's rows process 1 has every second one.
    job = Job(task="train_policy", home=str(tmp_path), params={"poison": 4, "part": 1})
    _, failure = run(job, Compute(mode="accelerate", processes=2, cpu=True, command=TOY))
    assert failure is not None
    assert "train_policy failed: NonFiniteLossError: the loss of pairs pair4 is not finite." in str(failure.description)


def test_a_process_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    job = Job(task="train_policy", home=str(tmp_path), params={"die": {"rank": 1, "step": 2}})
    _, failure = run(job, Compute(mode="accelerate", processes=2, cpu=True, command=TOY))
    assert failure is not None
    assert "train_policy failed: " in str(failure.description)
    assert not (tmp_path / "toy.safetensors").exists()


def test_only_training_goes_through_the_launcher() -> None:
    command = ["python", "-m", "x"]
    train, embed = (Job(task=task, home="h") for task in ("train_reward_model", "embed"))  # type: ignore[arg-type]
    assert launched(command, embed, 4, always=True) == command
    assert launched(command, train, 1) == command
    several = launched(command, train, 4)
    assert several[:4] == ["python", "-m", "accelerate.commands.launch", "--multi_gpu"]
    assert several[several.index("--num_processes") + 1] == "4"
    assert several[-4:] == ["--no_python", *command]
    assert "--multi_gpu" not in launched(command, train, 1, always=True)


@pytest.mark.slow
def test_a_local_ray_cluster_trains_the_same_policy(
    tmp_path: Path, alone: dict[str, Any], reference: ReferenceLogps, logps: pl.DataFrame
) -> None:
    ray = pytest.importorskip("ray", reason="needs ray")
    compute = Compute(mode="ray", cpu=True, ray=on_ray.Ray(env=["OMP_NUM_THREADS"]))
    try:
        job = make_job(tmp_path, make_rows(), reference, logps, learning_rate=1e-3)
        result, failure = run(job, compute)
        assert result is not None, failure
        expected, found = adapter(alone), adapter(result)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        assert result["metrics"]["loss"] == alone["metrics"]["loss"]

        broken = make_job(tmp_path, make_rows().head(3), reference, logps.head(0))
        _, failure = run(broken, compute)
        assert failure is not None
        assert "train_policy failed: TrainingDataError: 3 pairs cannot train: no reference" in str(failure.description)
        assert failure.allow_retries

        two = Compute(
            mode="ray", processes=2, cpu=True, command=TOY, ray=on_ray.Ray(num_cpus=1, env=["OMP_NUM_THREADS"])
        )
        result, failure = run(Job(task="train_policy", home=str(tmp_path / "two")), two)
        assert result is not None, failure
        assert result["metrics"]["world_size"] == 2
    finally:
        ray.shutdown()


def test_a_node_that_does_not_see_the_home_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"does not see .*job.json: the state folder"):
        on_ray.run_on_node(["true"], {}, str(tmp_path / "job.json"))


def test_ray_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(on_ray.MissingExtraError, match=r"pip install 'pref_assets\[ray\]'"):
        on_ray._ray()
