"""The pod that would run a job, checked against the Kubernetes client's own models. No cluster is needed or reached."""

import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pref_assets.resources.compute import Compute, on_kubernetes
from pref_assets.resources.compute.on_kubernetes import Kubernetes, pod_spec
from pref_assets.resources.compute.on_ray import MissingExtraError
from pref_assets.training.job import Job

pipes = pytest.importorskip("dagster_k8s.pipes", reason="needs dagster-k8s")

SETTINGS = {
    "image": "registry.example/pref_assets:1",
    "volume": {"persistentVolumeClaim": {"claimName": "pref-assets"}},
    "namespace": "training",
    "resources": {"limits": {"nvidia.com/gpu": 1}},
    "env": {"HF_HUB_OFFLINE": "1"},
    "labels": {"team": "alignment"},
    "pod_spec": {
        "nodeSelector": {"gpu": "h200"},
        "activeDeadlineSeconds": 3600,
        "containers": [
            {"envFrom": [{"secretRef": {"name": "keys"}}], "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}]}
        ],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
    },
}


def body(settings: Kubernetes, command: list[str]) -> dict[str, Any]:
    """The pod as it would be sent."""
    from kubernetes.client import ApiClient

    pod = pipes.build_pod_body(
        pod_name="p",
        image=None,
        command=None,
        env_vars={"A": "1"},
        base_pod_meta={"labels": settings.labels},
        base_pod_spec=pod_spec(settings, command, "/srv/home"),
    )
    return ApiClient().sanitize_for_serialization(pod)


def test_the_pod_has_the_home_the_command_and_what_the_user_asked_for() -> None:
    spec = body(Kubernetes(**SETTINGS), ["python", "-m", "pref_assets.training.worker"])["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "registry.example/pref_assets:1"
    assert container["command"] == ["python", "-m", "pref_assets.training.worker"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert {"name": "A", "value": "1"} in container["env"]
    assert container["volumeMounts"] == [
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "pref-assets-home", "mountPath": "/srv/home"},
    ]
    assert spec["volumes"] == [
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        {"name": "pref-assets-home", "persistentVolumeClaim": {"claimName": "pref-assets"}},
    ]
    assert (spec["nodeSelector"], spec["activeDeadlineSeconds"]) == ({"gpu": "h200"}, 3600)
    assert spec["restartPolicy"] == "Never"


def test_a_plain_pod_needs_only_image_and_volume() -> None:
    pod = body(Kubernetes(image="i", volume={"hostPath": {"path": "/data"}}), ["python"])
    assert pod["spec"]["volumes"] == [{"name": "pref-assets-home", "hostPath": {"path": "/data"}}]
    assert len(pod["spec"]["containers"]) == 1


def test_a_field_that_pods_do_not_have_is_refused() -> None:
    with pytest.raises(Exception, match="nodeChooser"):
        body(Kubernetes(image="i", volume={}, pod_spec={"nodeChooser": {}}), ["python"])


def test_the_settings_are_left_as_they_were() -> None:
    settings = Kubernetes(**SETTINGS)
    before = settings.model_dump()
    pod_spec(settings, ["python"], "/srv/home")
    assert settings.model_dump() == before


class Client:
    """Stands where ``PipesK8sClient`` does, and plays the pod."""

    calls: list[dict[str, Any]]
    outcome: str | None = None
    error: Exception | None = None

    def __init__(self, **settings: Any) -> None:
        type(self).settings = settings  # type: ignore[attr-defined]

    def run(self, **call: Any) -> None:
        type(self).calls.append(call)
        if self.outcome is not None:
            Path(call["extras"]["outcome"]).write_text(self.outcome)
        if self.error is not None:
            raise self.error


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str | None, error: Exception | None) -> Any:
    import dagster_k8s

    fake = type("Fake", (Client,), {"calls": [], "outcome": outcome, "error": error})
    monkeypatch.setattr(dagster_k8s, "PipesK8sClient", fake)
    job = Job(task="train_policy", home=str(tmp_path))
    compute = Compute(mode="kubernetes", processes=2, kubernetes=Kubernetes(**SETTINGS))
    answers: list[Any] = []

    @dg.asset
    def work(context: dg.AssetExecutionContext, compute: Compute) -> None:
        try:
            answers.append(compute.run(context, job))
        except dg.Failure as failure:
            answers.append(failure)
            raise

    dg.materialize([work], resources={"compute": compute}, raise_on_error=False)
    return answers[0], fake


def test_the_client_gets_the_pod_and_the_outcome_comes_through_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, fake = run(tmp_path, monkeypatch, '{"result": {"steps": 3}}', None)
    assert result == {"steps": 3}
    (call,) = fake.calls
    assert Path(call["extras"]["job"]).is_file()
    assert call["namespace"] == "training"
    assert call["env"] == {"PREF_ASSETS_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = call["base_pod_spec"]["containers"][0]["command"]
    assert command[:3] == ["python", "-m", "accelerate.commands.launch"]
    assert command[-3:] == ["python", "-m", "pref_assets.training.worker"]


def test_a_pod_that_fails_says_why_or_at_least_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster_k8s.client import DagsterK8sError

    error = DagsterK8sError("Pod did not exit successfully")
    left = '{"error": {"type": "OutOfMemoryError", "message": "lower batch_tokens", "out_of_memory": true}}'
    failure, _ = run(tmp_path, monkeypatch, left, error)
    assert "train_policy failed: OutOfMemoryError: lower batch_tokens" in failure.description
    assert not failure.allow_retries
    failure, _ = run(tmp_path, monkeypatch, None, error)
    assert "exit code 1 and no result" in failure.description
    assert "Pod did not exit successfully" in failure.metadata["stderr"].value
    assert f"see the state folder at {tmp_path}?" in failure.metadata["stderr"].value


def test_dagster_k8s_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dagster_k8s", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pref_assets\[kubernetes\]'"):
        on_kubernetes._dagster_k8s()
