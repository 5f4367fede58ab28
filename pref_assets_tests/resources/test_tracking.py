"""Tracking with a real local database, and with servers that are absent, mute, or fail half-way."""

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pref_assets.resources.mlflow_run import MlflowRun, flatten, signature
from pref_assets.resources.tracking import TrackedRun, Tracking
from pref_assets.training.checkpoint import Manifest, Pinned

Body = Callable[[TrackedRun], None]


@pytest.fixture(autouse=True)
def _own_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose database is migrated once for all tests."""
    home = tmp_path_factory.mktemp("home")
    Tracking(home=str(home), uri=f"sqlite:///{home / 'mlflow.db'}").prepare()
    return home


@pytest.fixture
def tracking(database: Path) -> Tracking:
    return Tracking(home=str(database), uri=f"sqlite:///{database / 'mlflow.db'}")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder with a real manifest and one file of weights."""
    folder = tmp_path / "checkpoints" / "demo" / "dpo" / "v1"
    folder.mkdir(parents=True)
    manifest = Manifest(
        pipeline="demo",
        name="dpo",
        version="v1",
        kind="policy",
        created="2026-01-01T00:00:00+00:00",
        code_version="0",
        libraries={},
        config={},
        base="org/model",
        base_identity="hf://org/model@main",
        reference=None,
        subset=Pinned(key=["demo", "subsets", "s"], delta_version=0, data_version="d"),
        tables={},
        n_pairs=0,
        pair_ids_sha256="",
        files={},
        metrics={},
        run={},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    (folder / "adapter.safetensors").write_bytes(b"x" * 10)
    steps = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))
    return folder


def materialize(tracking: Tracking, body: Body, **options: Any) -> tuple[dg.ExecuteInProcessResult, TrackedRun]:
    """The result of an asset that tracks ``body``, and its run."""
    runs: list[TrackedRun] = []

    @dg.asset(key=["demo", "checkpoints", "dpo"], **options)
    def asset(context: dg.AssetExecutionContext, tracking: Tracking) -> dg.MaterializeResult[None]:
        params = {"objective": {"type": "dpo", "beta": 0.1}, "lora": {}, "seed": 3}
        with tracking.run(context, params, tags={"checkpoint_version": "v1"}, parent="0123") as run:
            runs.append(run)
            body(run)
        return dg.MaterializeResult(metadata=run.metadata())

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([asset], resources={"tracking": tracking}, instance=instance, raise_on_error=False)
    return done, runs[0]


def test_a_finished_run_has_everything_and_links_both_ways(
    tracking: Tracking, database: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    def body(run: TrackedRun) -> None:
        run.dataset("demo/subsets/s", "d" * 32, "/tables/demo/subsets/s")
        run.metrics_file(checkpoint / "metrics.jsonl")
        run.metrics(3, {"reward@accuracy": 0.75})
        run.model(checkpoint, "policy")

    done, run = materialize(tracking, body)
    assert done.success
    (event,) = done.asset_materializations_for_node("demo__checkpoints__dpo")
    assert event.metadata["mlflow"].value == run.url
    assert "mlflow_problem" not in event.metadata
    assert str(run.url).startswith("http://127.0.0.1:5000/#/experiments/")
    client = tracking.client()
    stored = client.get_run(run.run_id)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "checkpoints/dpo"
    assert stored.data.params == {"objective.type": "dpo", "objective.beta": "0.1", "lora": "{}", "seed": "3"}
    assert stored.data.metrics == {"loss": pytest.approx(1 / 3), "reward_accuracy": 0.75}
    assert [point.step for point in client.get_metric_history(run.run_id, "loss")] == [1, 2, 3]
    expected = {
        "dagster.run_id": done.run_id,
        "dagster.asset_key": "demo/checkpoints/dpo",
        "checkpoint_version": "v1",
        "mlflow.parentRunId": "0123",
    }
    assert expected.items() <= stored.data.tags.items()
    (data,) = stored.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("demo/subsets/s", "d" * 32)
    (output,) = stored.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.name, logged.model_type, logged.status.value) == ("dpo", "policy", "READY")
    files = {str(file.relative_to(database)) for file in database.rglob("adapter.safetensors")}
    assert files == {f"mlflow_artifacts/demo/models/{output.model_id}/artifacts/data/v1/adapter.safetensors"}
    assert not list(database.rglob("*.pkl"))
    assert not (tmp_path / "mlruns").exists()
    assert not (tmp_path / "mlflow.db").exists()


def test_logging_a_model_does_not_load_it(tracking: Tracking, checkpoint: Path) -> None:
    before = "torch" in sys.modules
    assert materialize(tracking, lambda run: run.model(checkpoint, "policy"))[1].problem is None
    assert ("torch" in sys.modules) == before


def test_a_model_above_the_limit_stays_where_it_is(tracking: Tracking, checkpoint: Path) -> None:
    small = Tracking(home=tracking.home, uri=tracking.uri, max_model_mb=0)
    _, run = materialize(small, lambda run: run.model(checkpoint, "policy"))
    stored = tracking.client().get_run(run.run_id)
    assert stored.data.tags["checkpoint_folder"] == str(checkpoint)
    assert not stored.outputs.model_outputs


@pytest.mark.parametrize(("error", "status"), [(ValueError("loss is nan"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_run_ends_as_the_work_ends(tracking: Tracking, error: BaseException, status: str) -> None:
    def body(run: TrackedRun) -> None:
        seen.append(run)
        run.metrics(1, {"loss": 1.0})
        raise error

    seen: list[TrackedRun] = []
    try:
        assert not materialize(tracking, body)[0].success
    except KeyboardInterrupt:
        assert status == "KILLED"
    stored = tracking.client().get_run(seen[0].run_id)
    assert stored.info.status == status
    assert stored.data.metrics == {"loss": 1.0}


def test_a_step_retry_continues_the_run(tracking: Tracking) -> None:
    ids: list[str | None] = []

    def body(run: TrackedRun) -> None:
        ids.append(run.run_id)
        run.metrics(len(ids), {"loss": float(len(ids))})
        if len(ids) == 1:
            raise OSError("try again")

    done, _ = materialize(tracking, body, retry_policy=dg.RetryPolicy(max_retries=1))
    assert done.success
    assert ids[0] == ids[1] is not None
    stored = tracking.client().get_run(ids[0])
    assert stored.info.status == "FINISHED"
    assert len(tracking.client().get_metric_history(ids[0], "loss")) == 2


def test_many_metrics_are_all_sent(tracking: Tracking) -> None:
    def body(run: TrackedRun) -> None:
        for step in range(1200):
            run.metrics(step, {"loss": float(step), "accuracy": 0.5})

    _, run = materialize(tracking, body)
    assert len(tracking.client().get_metric_history(run.run_id, "loss")) == 1200


def everything(checkpoint: Path) -> Body:
    def body(run: TrackedRun) -> None:
        run.params({"more": 1})
        run.dataset("d", "v", "/p")
        run.metrics_file(checkpoint / "metrics.jsonl")
        run.model(checkpoint, "policy")

    return body


@pytest.fixture
def mute_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_refuses_costs_one_warning(
    tmp_path: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracking = Tracking(home=str(tmp_path), uri="http://user:secret@127.0.0.1:9")
    began = time.monotonic()
    done, run = materialize(tracking, everything(checkpoint))
    assert done.success
    assert time.monotonic() - began < 20
    (event,) = done.asset_materializations_for_node("demo__checkpoints__dpo")
    assert "not tracked: cannot start the run: " in str(event.metadata["mlflow_problem"].value)
    assert (run.run_id, run.url) == (None, None)
    warnings = [line for line in capfd.readouterr().err.splitlines() if "WARNING" in line and "MLflow at" in line]
    assert len(warnings) == 1
    assert "http://127.0.0.1:9" in warnings[0]
    assert "secret" not in warnings[0].partition("cannot")[0]


def test_a_server_that_never_answers_is_given_up_soon(
    tmp_path: Path, checkpoint: Path, mute_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    began = time.monotonic()
    done, run = materialize(Tracking(home=str(tmp_path), uri=mute_server, timeout_s=1), everything(checkpoint))
    assert done.success
    assert time.monotonic() - began < 10
    assert run.problem is not None


def test_what_fails_half_way_is_said_and_the_run_is_still_closed(
    tracking: Tracking, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MlflowRun, "model", full)
    done, run = materialize(tracking, everything(checkpoint))
    assert done.success
    assert run.problem == "cannot log the model: OSError: [Errno 28] No space left on device"
    assert tracking.client().get_run(run.run_id).info.status == "FINISHED"


def test_tracking_that_is_off_says_so(tmp_path: Path, checkpoint: Path) -> None:
    tracking = Tracking(home=str(tmp_path), enabled=False)
    tracking.prepare()
    done, run = materialize(tracking, everything(checkpoint))
    assert done.success
    assert run.problem == "tracking is off"
    assert not (tmp_path / "mlflow.db").exists()


def test_links_hold_no_password(tmp_path: Path) -> None:
    tracking = Tracking(home=str(tmp_path), uri="https://user:secret@tracking.example/team/")
    assert tracking.page("7", "abc") == "https://tracking.example/team/#/experiments/7/runs/abc"


def test_nested_configuration_becomes_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}) == {"a.b.c": 1, "a.d": [1, 2], "e": None}


def test_signatures_name_columns_and_parameters() -> None:
    policy, scorer = signature("policy"), signature("reward_model")
    assert (policy.inputs.input_names(), policy.outputs.input_names()) == (["prompt"], ["completion"])
    assert [param.name for param in policy.params] == ["max_new_tokens", "temperature", "seed"]
    assert scorer.inputs.input_names() == ["prompt", "completion"]
    assert (scorer.outputs.input_types()[0].name, scorer.params) == ("double", None)
