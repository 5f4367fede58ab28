"""Prepares a state folder, and cleans up after processes that were killed.

``python -m pref_assets.resources.deployment`` prepares the default one and prints its ``DAGSTER_HOME``.
"""

from pathlib import Path

import dagster as dg

from pref_assets.home import Home
from pref_assets.resources.folders import write_atomically
from pref_assets.resources.tracking import Tracking
from pref_assets.training.worker import alive

DAGSTER_YAML = """\
# Written once by pref_assets; yours to change.
telemetry:
  enabled: false
nux:
  enabled: false

# Every pool runs one step at a time: there is one GPU, and training on a CPU takes all of it.
concurrency:
  pools:
    granularity: op
    default_limit: 1
  runs:
    max_concurrent_runs: 2

# Gives the pools of failed and cancelled runs back.
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 30

# Days that ticks are kept.
retention:
  sensor:
    purge_after_days: {skipped: 2, failure: 30, success: 90}
  auto_materialize:
    purge_after_days: {skipped: 2, failure: 30, success: 90}
"""


def prepare_home(home: Home) -> Path:
    """Creates the state folder, its Dagster instance and its MLflow database, where they are missing.

    Returns:
        The folder for ``DAGSTER_HOME``; its ``dagster.yaml`` is left alone when it exists.
    """
    settings = home.dagster / "dagster.yaml"
    if not settings.exists():
        write_atomically(settings, DAGSTER_YAML)
    Tracking(home=str(home.root)).prepare()
    return home.dagster


def recover(instance: dg.DagsterInstance) -> list[str]:
    """Fails the runs whose process is gone and gives their places in the pools back; their ids.

    A process that is killed cannot do that itself: its run would stay `started` and block the pool for ever. Only
    runs of this machine are known here, so the instance must not be shared between machines.
    """
    running = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    gone = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=running)):
        pid = _pid(instance, run.run_id)
        if pid is not None and not alive(pid):
            instance.report_run_failed(run, f"The process of this run (pid {pid}) is gone: it was killed.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            gone.append(run.run_id)
    return gone


def _pid(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Process that executes the run: the first that its events name."""
    for record in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if record.dagster_event is not None and "pid" in (found := record.dagster_event.engine_event_data.metadata):
            return int(str(found["pid"].value))
    return None


if __name__ == "__main__":
    print(prepare_home(Home.default()))
