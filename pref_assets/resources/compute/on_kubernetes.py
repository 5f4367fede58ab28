"""A job as one pod of a Kubernetes cluster, through ``dagster_k8s.PipesK8sClient``."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import ConfigDict, Field

from pref_assets.resources.compute.child import Ended
from pref_assets.resources.compute.on_ray import MissingExtraError

VOLUME = "pref-assets-home"


class Kubernetes(dg.Config):
    """The pod of a job. The image needs this project; the state folder is a volume, mounted at the path it has here."""

    model_config = ConfigDict(extra="forbid")

    image: str
    """Container image."""
    volume: dict[str, Any]
    """Source of the volume with the state folder, as in a pod's `volumes` without the name, for example
    `{persistentVolumeClaim: {claimName: pref-assets}}`. It must allow readers and writers on several nodes."""
    namespace: str | None = None
    """That of this process in a cluster, else `default`."""
    resources: dict[str, Any] = Field(default_factory=dict)
    """Requests and limits of the container, for example `{limits: {nvidia.com/gpu: 1}}`."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables of the container. For secrets use `pod_spec` with `envFrom` or `valueFrom`."""
    pod_spec: dict[str, Any] = Field(default_factory=dict)
    """What else the pod has, as in a manifest's `spec` (node selector, tolerations, deadline, security context); image,
    command, volume and resources are added to its first container."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Further labels of the pod."""
    in_cluster: bool = False
    """Whether this process runs in the cluster itself."""
    kubeconfig: str | None = None
    """Path of the kubectl configuration; its usual place unless given."""
    kube_context: str | None = None
    """Which context of it."""
    timeout_seconds: float = Field(default=86_400, ge=0)
    """How long a pod may take; 0 is for ever."""
    delete: bool = True
    """Delete the pod when it is done."""


def run_pod(
    context: dg.OpExecutionContext,
    settings: Kubernetes,
    command: Sequence[str],
    env: Mapping[str, str],
    extras: Mapping[str, Any],
    home: str,
) -> Ended:
    """Runs the worker in a pod and waits; the pod's log goes on to this process's output.

    Raises:
        MissingExtraError: dagster-k8s is not installed.
    """
    k8s = _dagster_k8s()
    client = k8s.PipesK8sClient(
        load_incluster_config=settings.in_cluster,
        kubeconfig_file=settings.kubeconfig,
        kube_context=settings.kube_context,
    )
    try:
        client.run(
            context=context,
            namespace=settings.namespace,
            env={"PREF_ASSETS_HOME": home, **settings.env, **env},
            base_pod_meta={"labels": settings.labels},
            base_pod_spec=pod_spec(settings, command, home),
            extras=dict(extras),
            pod_wait_timeout=settings.timeout_seconds,
            delete_pod_on_completion=settings.delete,
        )
    except k8s.client.DagsterK8sError as error:
        hint = f"Does the pod see the state folder at {home}?"
        return Ended(1, f"{error}\n{hint}")
    return Ended(0, "")


def pod_spec(settings: Kubernetes, command: Sequence[str], home: str) -> dict[str, Any]:
    """The pod's specification: that of the settings, with image, command, resources and the state folder.

    Args:
        settings: of the pod.
        command: of its first container.
        home: the state folder's path, here and there.
    """
    spec = copy.deepcopy(settings.pod_spec)
    first, *others = spec.get("containers") or [{}]
    mounts = [*first.get("volumeMounts", []), {"name": VOLUME, "mountPath": home}]
    first |= {"image": settings.image, "command": list(command), "volumeMounts": mounts}
    if settings.resources:
        first["resources"] = settings.resources
    # The name that dagster_k8s gives a lone container.
    first.setdefault("name", "dagster-pipes-execution")
    spec["containers"] = [first, *others]
    spec["volumes"] = [*spec.get("volumes", []), {"name": VOLUME, **settings.volume}]
    return spec


def _dagster_k8s() -> Any:
    try:
        import dagster_k8s
    except ImportError as error:
        raise MissingExtraError(
            "compute mode `kubernetes` needs dagster-k8s: pip install 'pref_assets[kubernetes]'"
        ) from error
    return dagster_k8s
