"""One MLflow run, by the client API and an explicit run id. Every method may raise; ``tracking`` decides what then."""

import json
import re
import tempfile
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pref_assets import __version__
from pref_assets.training import serving
from pref_assets.training.checkpoint import Kind, read_manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.models.signature import ModelSignature

FLUSH_METRICS = 500
_PARAMS_A_CALL = 100
_METRICS_A_CALL = 1000
_VALUE_CHARACTERS = 5000
_NOT_IN_NAMES = re.compile(r"[^\w\-./ ]")
_EXAMPLES: dict[str, dict[str, list[str]]] = {
    "policy": {"prompt": ["Name three colours."]},
    "reward_model": {"prompt": ["Name three colours."], "completion": ["Red, green and blue."]},
    "critique_reward_model": {"prompt": ["Name three colours."], "completion": ["Red, green and blue."]},
}
_OUTPUTS = {
    "policy": ("string", "completion"),
    "reward_model": ("double", "score"),
    "critique_reward_model": ("double", "score"),
}


class MlflowRun:
    """A run that was begun."""

    def __init__(self, client: "MlflowClient", experiment_id: str, run_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.run_id = run_id
        self._metrics: list[Metric] = []

    @classmethod
    def begin(
        cls,
        client: "MlflowClient",
        experiment: str,
        artifacts: str | None,
        name: str,
        identity: Mapping[str, str],
    ) -> "MlflowRun":
        """Continues the run that has these ``identity`` tags, or creates it, and the experiment where there is none.

        Args:
            client: where runs live.
            experiment: name of the experiment.
            artifacts: URI for the artifacts of a new experiment; None lets the server decide.
            name: the run's name.
            identity: tags that no other run has together.
        """
        found = client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else client.create_experiment(experiment, artifacts)
        query = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in identity.items())
        runs = client.search_runs([experiment_id], query, max_results=1)
        if runs:
            run_id = runs[0].info.run_id
            client.update_run(run_id, status="RUNNING")
        else:
            run_id = client.create_run(experiment_id, tags=dict(identity), run_name=name).info.run_id
        return cls(client, experiment_id, run_id)

    def params(self, values: Mapping[str, Any]) -> None:
        """Logs configuration; nested mappings become dotted names."""
        from mlflow.entities import Param

        flat = [Param(_clean(name), str(value)[:_VALUE_CHARACTERS]) for name, value in flatten(values).items()]
        rest = iter(flat)
        while some := list(islice(rest, _PARAMS_A_CALL)):
            self.client.log_batch(self.run_id, params=some)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Buffers the metrics of a step; a batch costs about as much as one metric."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._metrics += [Metric(_clean(name), float(value), now, step) for name, value in values.items()]
        if len(self._metrics) >= FLUSH_METRICS:
            self.flush()

    def metrics_file(self, path: Path) -> None:
        """Logs a ``metrics.jsonl``: a JSON object a line, ``step`` among its numbers."""
        for line in path.read_text().splitlines():
            row = json.loads(line)
            step = int(row.pop("step"))
            self.metrics(step, {name: value for name, value in row.items() if isinstance(value, int | float)})

    def flush(self) -> None:
        while self._metrics:
            self.client.log_batch(self.run_id, metrics=self._metrics[:_METRICS_A_CALL])
            del self._metrics[:_METRICS_A_CALL]

    def tags(self, values: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        if values:
            self.client.log_batch(self.run_id, tags=[RunTag(name, str(value)) for name, value in values.items()])

    def dataset(self, name: str, data_version: str, path: str, use: str) -> None:
        """Records which data the run used; the data version is what MLflow calls a digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(name=name, digest=data_version[:36], source_type="delta", source=json.dumps({"path": path}))
        self.client.log_inputs(self.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", use)])])

    def model(self, folder: Path, kind: Kind) -> None:
        """Logs a checkpoint folder so that ``mlflow.pyfunc.load_model`` can load it; nothing is pickled.

        The fluent ``log_model`` would load the model here, in the orchestrating process, to try the example.
        """
        import pandas
        from mlflow import pyfunc
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.models import Model

        manifest = read_manifest(folder)
        logged = self.client.create_logged_model(
            self.experiment_id,
            name=manifest.name,
            source_run_id=self.run_id,
            model_type=kind,
            tags={"checkpoint_version": manifest.version},
        )
        with tempfile.TemporaryDirectory() as temporary:
            description = Model(
                artifact_path=logged.artifact_location,
                run_id=self.run_id,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
                metadata={"checkpoint_version": manifest.version, "folder": str(folder)},
            )
            pyfunc.save_model(
                f"{temporary}/model",
                mlflow_model=description,
                loader_module=serving.__name__,
                data_path=str(folder),
                signature=signature(kind),
                input_example=pandas.DataFrame(_EXAMPLES[kind]),
                pip_requirements=[f"pref_assets=={__version__}"],
            )
            self.client.log_model_artifacts(logged.model_id, f"{temporary}/model")
        self.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        self.client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step=0)])

    def end(self, status: str) -> None:
        self.client.set_terminated(self.run_id, status)


def signature(kind: Kind) -> "ModelSignature":
    """Columns a model of this kind takes and gives, and what a caller may set."""
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    given = Schema([ColSpec("string", name) for name in _EXAMPLES[kind]])
    types = {int: "long", float: "double"}
    settable = [ParamSpec(name, types[type(value)], value) for name, value in serving.SAMPLING.items()]
    params = ParamSchema(settable) if kind == "policy" else None
    return ModelSignature(given, Schema([ColSpec(*_OUTPUTS[kind])]), params)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"lora": {"r": 8}}`` as ``{"lora.r": 8}``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _clean(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)
