"""What of a pipeline is fresh, out of date or missing, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.data_version import (
    SKIP_PARTITION_DATA_VERSION_DEPENDENCY_THRESHOLD,
    CachingStaleStatusResolver,
    StaleStatus,
)
from dagster._core.loader import LoadingContext
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

Status = Literal["fresh", "stale", "missing", "blocked"]
_NAMES: dict[StaleStatus, Status] = {
    StaleStatus.FRESH: "fresh",
    StaleStatus.STALE: "stale",
    StaleStatus.MISSING: "missing",
}


@dataclass(frozen=True)
class AssetStatus:
    """One asset, or one partition of it. ``blocked`` is up to date, but a blocking check refused it."""

    key: dg.AssetKey
    partition: str | None
    status: Status
    causes: list[str] = field(default_factory=list)


class _Context(LoadingContext):
    """What the resolver reads through; one for each look, because it caches."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        self._loaders: dict[Any, Any] = {}

    @property
    def instance(self) -> dg.DagsterInstance:
        return self._instance

    @property
    def loaders(self) -> dict[Any, Any]:
        return self._loaders


def statuses(instance: dg.DagsterInstance, graph: AssetGraph, keys: Iterable[dg.AssetKey]) -> list[AssetStatus]:
    """Status of every asset, and of every partition of partitioned ones, parents before children.

    Dagster alone does not see two things that this adds: an asset whose blocking check failed, and a new batch among a
    hundred or more.
    """
    wanted = set(keys)
    resolver = CachingStaleStatusResolver(instance, graph, _Context(instance))
    refused = refusals(instance, graph, wanted)
    found = []
    for key in (key for key in graph.toposorted_asset_keys if key in wanted):
        partitions = graph.get(key).partitions_def
        names: Sequence[str | None] = (
            [None] if partitions is None else partitions.get_partition_keys(dynamic_partitions_store=instance)
        )
        for partition in names:
            status = _NAMES[resolver.get_status(key, partition)]
            causes = [
                f"{cause.reason}{_of(cause.dependency_asset_key)}"
                for cause in resolver.get_stale_causes(key, partition)
            ]
            if status == "fresh" and partition is None and (late := _late_batches(instance, graph, key)):
                status, causes = "stale", [f"new batches of {late}"]
            if status == "fresh" and partition is None and key in refused:
                status, causes = "blocked", [f"check {name} failed or did not run" for name in refused[key]]
            found.append(AssetStatus(key, partition, status, list(dict.fromkeys(causes))))
    return found


def refusals(
    instance: dg.DagsterInstance, graph: AssetGraph, keys: Iterable[dg.AssetKey]
) -> dict[dg.AssetKey, list[str]]:
    """Blocking checks of each asset that did not pass when they last ran, or never ran."""
    wanted = set(keys)
    checks = [key for key in graph.asset_check_keys if key.asset_key in wanted and graph.get_check_spec(key).blocking]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    found: dict[dg.AssetKey, list[str]] = {}
    for key in checks:
        record = latest.get(key)
        if record is None or record.status != AssetCheckExecutionRecordStatus.SUCCEEDED:
            found.setdefault(key.asset_key, []).append(key.name)
    return found


def _late_batches(instance: dg.DagsterInstance, graph: AssetGraph, key: dg.AssetKey) -> str | None:
    """A partitioned parent with so many batches that Dagster does not compare them, and one newer than the asset."""
    record = instance.fetch_materializations(key, limit=1).records
    for parent in graph.get(key).parent_keys:
        partitions = graph.get(parent).partitions_def
        if partitions is None or not record:
            continue
        batches = partitions.get_partition_keys(dynamic_partitions_store=instance)
        if len(batches) < SKIP_PARTITION_DATA_VERSION_DEPENDENCY_THRESHOLD:
            continue
        newest = instance.fetch_materializations(parent, limit=1).records
        if newest and newest[0].storage_id > record[0].storage_id:
            return "/".join(parent.path)
    return None


def _of(key: dg.AssetKey | None) -> str:
    return f" ({'/'.join(key.path)})" if key is not None else ""
