"""A fresh home is usable, and a killed run neither stays `started` nor keeps its pool."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from pref_assets.home import Home
from pref_assets.resources.deployment import prepare_home, recover

KILLED = """
import os, time
import dagster as dg
@dg.asset(pool="gpu")
def work():
    print("working", flush=True)
    time.sleep(60)
dg.materialize([work], instance=dg.DagsterInstance.get())
"""


@dg.asset(pool="gpu")
def work() -> None: ...


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Home(tmp_path / "home")


def test_a_fresh_home_has_an_instance_and_a_database(home: Home) -> None:
    folder = prepare_home(home)
    assert folder == home.dagster
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        pools = instance.get_concurrency_config().pool_config
        assert pools.default_pool_limit == 1
    assert (home.root / "mlflow.db").stat().st_size > 0
    (folder / "dagster.yaml").write_text("# mine\n")
    prepare_home(home)
    assert (folder / "dagster.yaml").read_text() == "# mine\n"


def test_a_killed_run_is_failed_and_gives_its_pool_back(home: Home) -> None:
    home.dagster.mkdir(parents=True)
    (home.dagster / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nconcurrency: {pools: {granularity: op, default_limit: 1}}\n"
    )
    env = {**os.environ, "DAGSTER_HOME": str(home.dagster)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "working\n"
        with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
            assert recover(instance) == []
            child.send_signal(signal.SIGKILL)
            child.wait()
            (run_id,) = recover(instance)
            run = instance.get_run_by_id(run_id)
            assert run is not None
            assert run.status == dg.DagsterRunStatus.FAILURE
            assert recover(instance) == []
            assert dg.materialize([work], instance=instance).success
