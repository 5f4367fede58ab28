"""A job as one task of a Ray cluster."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import ConfigDict, Field

from pref_assets.resources.compute.child import Ended, run_child


class Ray(dg.Config):
    """Which cluster, and what of it a job takes. Every node needs this project and the state folder, at one path."""

    model_config = ConfigDict(extra="forbid")

    address: str | None = None
    """Of a cluster (`auto`, `host:6379`, `ray://host:10001`); without one that of `RAY_ADDRESS`, or a cluster on this
    machine for as long as this process lives."""
    num_cpus: float = Field(default=1, ge=0)
    """CPU cores that a job reserves."""
    num_gpus: float = Field(default=0, ge=0)
    """GPUs that a job reserves; give as many as `processes`."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Custom resources that a job reserves, to choose nodes."""
    env: list[str] = Field(default_factory=list)
    """Variables of this process's environment that the job gets too (keys of judges, `HF_HUB_OFFLINE`)."""


class MissingExtraError(ImportError):
    """A package that only this way of running needs is not installed."""


def run_on_ray(
    context: dg.OpExecutionContext,
    settings: Ray,
    command: Sequence[str],
    env: Mapping[str, str],
    extras: Mapping[str, Any],
) -> Ended:
    """Runs the worker as a child of one Ray task and waits. Its messages come through a file beside the job.

    The task is cancelled when this call ends early.

    Raises:
        MissingExtraError: Ray is not installed.
        dagster.Failure: the node does not see the state folder.
    """
    ray = _ray()
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address=settings.address, include_dashboard=None if settings.address else False, log_to_driver=True)
    messages = f"{extras['outcome']}.messages"
    with dg.open_pipes_session(
        context, dg.PipesEnvContextInjector(), dg.PipesFileMessageReader(messages), extras=dict(extras)
    ) as session:
        given = {name: os.environ[name] for name in settings.env if name in os.environ}
        task = ray.remote(run_on_node).options(
            num_cpus=settings.num_cpus, num_gpus=settings.num_gpus, resources=settings.resources, max_retries=0
        )
        running = task.remote(list(command), {**session.get_bootstrap_env_vars(), **given, **env}, str(extras["job"]))
        try:
            return ray.get(running)
        except ray.exceptions.RayTaskError as error:
            raise dg.Failure(str(error.cause), allow_retries=not isinstance(error.cause, FileNotFoundError)) from error
        finally:
            ray.cancel(running)


def run_on_node(command: list[str], env: dict[str, str], job: str) -> Ended:
    """What the task does on its node.

    Raises:
        FileNotFoundError: the job's file is not there, so neither is the state folder.
    """
    if not Path(job).is_file():
        raise FileNotFoundError(
            f"the node {os.uname().nodename} does not see {job}: the state folder (PREF_ASSETS_HOME) must be on a disk "
            "that all nodes share, at the same path"
        )
    return run_child(command, env)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("compute mode `ray` needs Ray: pip install 'pref_assets[ray]'") from error
    return ray
