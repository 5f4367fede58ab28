"""Experiment tracking with MLflow: one run for each checkpoint and evaluation, linked both ways with Dagster.

Tracking is a courtesy: whatever goes wrong with it becomes one warning and a line of metadata, never lost work.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

import dagster as dg

from pref_assets.home import Home
from pref_assets.resources.mlflow_run import MlflowRun
from pref_assets.training.checkpoint import Kind

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"


class Tracking(dg.ConfigurableResource):
    """Where runs are tracked."""

    home: str
    """The state folder; artifacts of a local database go to its ``mlflow_artifacts``."""
    uri: str = ""
    """Tracking server or database; empty for ``MLFLOW_TRACKING_URI``, or else ``<home>/mlflow.db``."""
    enabled: bool = True
    """Whether anything is tracked."""
    ui: str = "http://127.0.0.1:5000"
    """Where the MLflow UI of a local database is served, for links. For a server it is the server's own address."""
    timeout_s: int = 5
    """How long one request to a server may take. After one failure nothing more is sent for that run."""
    max_model_mb: int = 1024
    """Model folders above this size (MiB) are not copied to MLflow; the run then has their path as a tag."""

    @property
    def tracking_uri(self) -> str:
        return self.uri or Home(Path(self.home)).tracking_uri

    @property
    def local(self) -> bool:
        """Whether runs are kept in a SQLite file of this machine."""
        return self.tracking_uri.startswith(SQLITE)

    def prepare(self) -> None:
        """Creates or upgrades the local database (seconds, once), so that no asset has to wait for it."""
        if self.enabled and self.local:
            self.client().search_experiments(max_results=1)

    def client(self) -> "MlflowClient":
        """A client that gives up soon. Variables that somebody set already win over this resource's limits."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(self.timeout_s))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        if self.local:
            Path(self.tracking_uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(self.tracking_uri)

    @contextmanager
    def run(
        self,
        context: dg.AssetExecutionContext,
        params: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
    ) -> Iterator["TrackedRun"]:
        """The MLflow run of this materialization, ended as the block ends: finished, failed or killed.

        The asset's pipeline is the experiment. A step retry of the same Dagster run continues its run.

        Args:
            context: of the asset.
            params: configuration, nested as it is.
            tags: more facts to find the run by (data version, code version, checkpoint version).
            parent: id of the MLflow run that this one belongs to.
        """
        run = TrackedRun(self, context)
        run.begin(params, {**(tags or {}), **({} if parent is None else {"mlflow.parentRunId": parent})})
        try:
            yield run
        except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
            run.end("KILLED")
            raise
        except BaseException:
            run.end("FAILED")
            raise
        run.end("FINISHED")

    def artifacts(self, experiment: str) -> str | None:
        """Where a new experiment's files go: into the home for a local database, else where the server says."""
        return (Path(self.home).absolute() / "mlflow_artifacts" / experiment).as_uri() if self.local else None

    def page(self, experiment_id: str, run_id: str) -> str:
        """Address of a run in the MLflow UI, without any password of the tracking URI."""
        base = urlsplit(self.tracking_uri if self.tracking_uri.startswith("http") else self.ui)
        return _without_password(
            base._replace(path=f"{base.path.rstrip('/')}/", fragment=f"/experiments/{experiment_id}/runs/{run_id}")
        )


class TrackedRun:
    """What a materialization tells MLflow. Its methods never raise because of tracking.

    Attributes:
        problem: why the run, or the rest of it, is not tracked; None when all is.
    """

    def __init__(self, tracking: Tracking, context: dg.AssetExecutionContext) -> None:
        self.problem: str | None = None if tracking.enabled else "tracking is off"
        self._tracking = tracking
        self._context = context
        self._run: MlflowRun | None = None

    @property
    def run_id(self) -> str | None:
        """Id of the MLflow run; None when it could not be begun."""
        return None if self._run is None else self._run.run_id

    @property
    def url(self) -> str | None:
        """The run's page in the MLflow UI."""
        return None if self._run is None else self._tracking.page(self._run.experiment_id, self._run.run_id)

    def metadata(self) -> dict[str, dg.MetadataValue[Any]]:
        """For the asset, once the block has ended: a link to the run, and what was not tracked and why."""
        found: dict[str, dg.MetadataValue[Any]] = {}
        if self.url is not None:
            found["mlflow"] = dg.MetadataValue.url(self.url)
        if self.problem is not None:
            found["mlflow_problem"] = dg.MetadataValue.text(f"not tracked: {self.problem}")
        return found

    def begin(self, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Finds or creates the run and says what it is of."""
        experiment, *name = self._context.asset_key.path

        def start() -> None:
            client, artifacts = self._tracking.client(), self._tracking.artifacts(experiment)
            self._run = MlflowRun.begin(client, experiment, artifacts, "/".join(name), self._identity())
            self._run.tags(tags)
            self._run.params(params)

        self._try("start the run", start)

    def params(self, values: Mapping[str, Any]) -> None:
        """Logs configuration; nested mappings become dotted names."""
        self._tell("log parameters", lambda run: run.params(values))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Logs numbers of a step; they are sent in batches and at the end."""
        self._tell("log metrics", lambda run: run.metrics(step, values))

    def metrics_file(self, path: Path) -> None:
        """Logs the step metrics of a checkpoint's ``metrics.jsonl``."""
        self._tell("log step metrics", lambda run: run.metrics_file(path))

    def tags(self, values: Mapping[str, str]) -> None:
        self._tell("set tags", lambda run: run.tags(values))

    def dataset(self, name: str, data_version: str, path: str, use: str = "training") -> None:
        """Records a table the run used, with its data version."""
        self._tell("log the data set", lambda run: run.dataset(name, data_version, path, use))

    def model(self, folder: Path, kind: Kind) -> None:
        """Logs a checkpoint folder as a model with its signature."""
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
        if size > self._tracking.max_model_mb:
            self._context.log.warning(f"MLflow gets the model's path, not its {size:,.0f} MiB (limit max_model_mb)")
            self.tags({"checkpoint_folder": str(folder)})
        else:
            self._tell("log the model", lambda run: run.model(folder, kind))

    def end(self, status: str) -> None:
        """Sends what is buffered and closes the run; it is closed even when something could not be sent."""
        self._tell("log metrics", lambda run: run.flush())
        if (run := self._run) is not None:
            self._try("end the run", lambda: run.end(status), despite_problems=True)

    def _identity(self) -> dict[str, str]:
        """Tags that lead back to the materialization."""
        key = self._context.asset_key.to_user_string()
        tags = {"dagster.run_id": self._context.run_id, "dagster.asset_key": key}
        return tags | ({"dagster.partition": self._context.partition_key} if self._context.has_partition_key else {})

    def _tell(self, what: str, action: Callable[[MlflowRun], None]) -> None:
        if (run := self._run) is not None:
            self._try(what, lambda: action(run))

    def _try(self, what: str, action: Callable[[], None], despite_problems: bool = False) -> None:
        if self.problem is not None and not despite_problems:
            return
        try:
            action()
        except Exception as error:
            if self.problem is None:
                reason = (str(error).splitlines() or [""])[0][:300]
                self.problem = f"cannot {what}: {type(error).__name__}: {reason}"
                where = _without_password(urlsplit(self._tracking.tracking_uri))
                self._context.log.warning(f"MLflow at {where}: {self.problem}; the work itself goes on")


def _without_password(uri: SplitResult) -> str:
    return urlunsplit(uri._replace(netloc=uri.netloc.rpartition("@")[2]))
