"""Bringing a pipeline up to date: new files in, then whatever is missing or out of date, and nothing else."""

import difflib
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import dagster as dg
from dagster._core.definitions.asset_selection import DagsterInvalidAssetSelectionError
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.events import DagsterEventType
from dagster.components.core.component_tree import ComponentTreeException

from pref_assets.home import Home
from pref_assets.pairs.locations import is_hub
from pref_assets.pairs.places import find_places
from pref_assets.pairs.reading import UnreadableError, pin_hub
from pref_assets.pipeline import batches, withdrawn
from pref_assets.pipeline.freshness import AssetStatus, statuses
from pref_assets.pipeline.inputs import forget_old_inputs
from pref_assets.pipeline.jobs import ingest_job
from pref_assets.pipeline.naming import (
    LOCATION_METADATA,
    MAX_BAD_SHARE_METADATA,
    asset_key,
    job_name,
    source_partitions,
)
from pref_assets.pipeline.refused import take_back
from pref_assets.pipeline.sensors import why

Kind = Literal["registered", "taken_back", "materialized", "check_failed", "failed", "unreadable"]


@dataclass(frozen=True)
class Progress:
    """Something that happened in a run.

    Attributes:
        kind: what. A file that is ``unreadable`` is left out; everything else goes on.
        name: asset key with slashes, or the batch.
        partition: batch of a partitioned asset.
        seconds: since the step started, for ``materialized`` and ``failed``.
        rows: rows written, where the asset is a table.
        kept: of them, pairs that a subset keeps.
        message: why it failed, or which check did.
    """

    kind: Kind
    name: str
    partition: str | None = None
    seconds: float | None = None
    rows: int | None = None
    kept: int | None = None
    message: str = ""


@dataclass
class RunReport:
    """What a call of ``run_pipeline`` did. It did nothing when everything was fresh."""

    pipeline: str
    registered: list[str] = field(default_factory=list)
    materialized: list[str] = field(default_factory=list)
    failures: list[Progress] = field(default_factory=list)
    fresh: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.failures


Listener = Callable[[Progress], None]


class UnknownPipelineError(LookupError):
    """No such pipeline in the code location; the message names those there are."""


def run_pipeline(
    instance: dg.DagsterInstance,
    pipeline: str,
    select: str | None = None,
    *,
    definitions: dg.Definitions | None = None,
    home: Home | None = None,
    listener: Listener = lambda progress: None,
) -> RunReport:
    """Registers new files of every source, reads new batches, and materializes what is missing, stale or blocked.

    Args:
        instance: where runs are recorded.
        pipeline: its name.
        select: only these assets, in Dagster's selection syntax; everything of the pipeline by default.
        definitions: of the code location; the project's own by default.
        home: the state folder; the default one by default.
        listener: told of every asset as it is done.

    Raises:
        UnknownPipelineError: no such pipeline.
        LocationError: a source's location does not exist.
        ValueError: nothing matches the selection.
    """
    began = time.perf_counter()
    definitions = definitions or project_definitions()
    home = home or Home.default()
    graph = definitions.resolve_asset_graph()
    chosen = selected(graph, pipeline, select)
    report = RunReport(pipeline)
    runner = _Runner(instance, definitions, report, listener)
    forget_old_inputs(home)
    withdrawn.report(instance, home, pipeline)
    for source in sources(graph, pipeline):
        if asset_key(pipeline, "raw", source) in chosen:
            _ingest(runner, home, pipeline, source, chosen)
    if all(each.kind == "unreadable" for each in report.failures) and _all_have_data(runner, pipeline):
        _catch_up(runner, pipeline, {key for key in chosen if graph.get(key).partitions_def is None})
    report.fresh = sum(1 for each in statuses(instance, graph, chosen) if each.status == "fresh")
    report.seconds = time.perf_counter() - began
    return report


def _catch_up(runner: "_Runner", pipeline: str, whole: set[dg.AssetKey]) -> None:
    """Two runs, the pairs first: where new records leave the pairs as they were, nothing after them runs."""
    for keys in ({key for key in whole if key.path[1] == "pairs"}, whole):
        failures = len(runner.report.failures)
        todo = outdated(runner.graph, statuses(runner.instance, runner.graph, keys), keys)
        if todo:
            runner.run(job_name(pipeline, "everything"), todo)
        if len(runner.report.failures) > failures:
            return


def project_definitions() -> dg.Definitions:
    """The code location of this project. Raises ``ValueError`` when a pipeline file is wrong: all its errors."""
    from pref_assets.definitions import defs

    try:
        loaded = defs()
    except ComponentTreeException as error:
        raise ValueError(str(error)) from error
    assert isinstance(loaded, dg.Definitions)
    return loaded


def pipelines(graph: AssetGraph) -> list[str]:
    """Names of the pipelines in a code location."""
    return sorted({key.path[0] for key in graph.materializable_asset_keys})


def sources(graph: AssetGraph, pipeline: str) -> list[str]:
    """Names of a pipeline's sources."""
    keys = (key.path for key in graph.materializable_asset_keys)
    return sorted(path[2] for path in keys if path[:2] == [pipeline, "raw"])


def selected(graph: AssetGraph, pipeline: str, select: str | None = None) -> set[dg.AssetKey]:
    """Assets of a pipeline, or those of them that a selection names.

    Raises:
        UnknownPipelineError: no such pipeline.
        ValueError: the selection is not one, or names nothing of it.
    """
    known = pipelines(graph)
    if pipeline not in known:
        close = difflib.get_close_matches(pipeline, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UnknownPipelineError(f"no pipeline {pipeline!r}; known: {', '.join(known) or 'none'}{hint}")
    chosen = {key for key in graph.materializable_asset_keys if key.path[0] == pipeline}
    if select is None:
        return chosen
    try:
        named = dg.AssetSelection.from_string(select).resolve(graph)
    except DagsterInvalidAssetSelectionError:
        raise ValueError(f"--select {select!r} is no selection; write it like `key:{pipeline}/pairs/pairs+`") from None
    if not chosen & named:
        raise ValueError(f"--select {select!r} names no asset of {pipeline}; try `group:{pipeline}_6_subsets`")
    return {each for key in chosen & named for each in graph.get(key).execution_set_asset_keys}


def outdated(graph: AssetGraph, found: Iterable[AssetStatus], within: set[dg.AssetKey]) -> set[dg.AssetKey]:
    """Assets that are not fresh, with everything downstream of them that is in ``within``.

    Tables that one function writes together (the four of the pairs stage) come together, inside ``within`` or not.
    """
    todo: set[dg.AssetKey] = set()
    stale = {each.key for each in found if each.status != "fresh"}
    for key in graph.toposorted_asset_keys:
        follows = key in within and any(parent in todo for parent in graph.get(key).parent_keys)
        if key in stale or follows:
            todo |= graph.get(key).execution_set_asset_keys
    return todo


def _ingest(runner: "_Runner", home: Home, pipeline: str, source: str, chosen: set[dg.AssetKey]) -> None:
    """Registers what is new at a source's location and reads every batch that is not read yet."""
    metadata = runner.graph.get(asset_key(pipeline, "raw", source)).metadata
    location = str(metadata[LOCATION_METADATA])
    partitions = str(source_partitions(pipeline, source).name)
    for batch in take_back(runner.instance, home, pipeline, source, float(metadata[MAX_BAD_SHARE_METADATA])):
        runner.tell(Progress("taken_back", batch.uri, batch.key))
    if is_hub(location):
        _register_hub(runner, home, pipeline, source, location)
    else:
        for uri, error in batches.register_places(home, pipeline, source, find_places(location)):
            runner.fail(Progress("unreadable", uri, message=str(error)))
    known = set(runner.instance.get_dynamic_partitions(partitions))
    new = [batch for batch in batches.registered(home, pipeline, source) if batch.key not in known]
    if new:
        runner.instance.add_dynamic_partitions(partitions, [batch.key for batch in new])
    for batch in new:
        runner.report.registered.append(batch.key)
        runner.tell(Progress("registered", batch.uri, batch.key))
    keys = {key for key in chosen if key.path[1] == "raw" and key.path[2] == source} | {
        key for key in chosen if runner.graph.get(key).partitions_def == source_partitions(pipeline, source)
    }
    raw = asset_key(pipeline, "raw", source)
    for cleared, rows in withdrawn.clear_raw(runner.instance, home, pipeline, source):
        runner.cleared(raw, cleared, rows)
    held = withdrawn.held_records(home, pipeline, source)
    found = statuses(runner.instance, runner.graph, keys)
    for partition in runner.instance.get_dynamic_partitions(partitions):
        todo = outdated(runner.graph, (each for each in found if each.partition == partition), keys)
        if partition in held:
            todo |= keys - {raw}
        if todo:
            runner.run(ingest_job(pipeline, source), todo, partition)


def _register_hub(runner: "_Runner", home: Home, pipeline: str, source: str, location: str) -> None:
    """Registers a hub location, pinned to the commit it has when it is first seen."""
    if any(batch.uri == location for batch in batches.registered(home, pipeline, source)):
        return
    try:
        batches.register_hub(home, pipeline, source, location, pin_hub(location))
    except UnreadableError as error:
        runner.fail(Progress("unreadable", location, message=str(error)))


def _all_have_data(runner: "_Runner", pipeline: str) -> bool:
    """Whether every source has a batch; without one, nothing that merges them can run."""
    names = (str(source_partitions(pipeline, source).name) for source in sources(runner.graph, pipeline))
    return all(runner.instance.get_dynamic_partitions(name) for name in names)


class _Runner:
    """Executes jobs in this process and turns Dagster's events into progress."""

    def __init__(
        self, instance: dg.DagsterInstance, definitions: dg.Definitions, report: RunReport, listener: Listener
    ) -> None:
        self.instance = instance
        self.definitions = definitions
        self.graph = definitions.resolve_asset_graph()
        self.report = report
        self.tell = listener
        self._started: dict[str, float] = {}

    def run(self, job: str, keys: set[dg.AssetKey], partition: str | None = None) -> None:
        """One run of a job on these assets and their checks; failures go to the report."""
        run_id = str(uuid.uuid4())
        self.instance.add_event_listener(run_id, lambda entry: self._hear(entry, partition))
        known = len(self.report.failures)
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            asset_selection=sorted(keys),
            partition_key=partition,
            run_id=run_id,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        if not result.success and len(self.report.failures) == known:
            ends = [event.message for event in result.all_events if event.is_failure]
            self.fail(Progress("failed", job, partition, message=(ends or ["the run failed"])[-1] or ""))

    def _hear(self, entry: dg.EventLogEntry, partition: str | None) -> None:
        event = entry.dagster_event
        if event is None:
            return
        step = event.step_key or ""
        if event.event_type == DagsterEventType.STEP_START:
            self._started[step] = entry.timestamp
            return
        seconds = entry.timestamp - self._started.get(step, entry.timestamp)
        if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            self._materialized(event, partition, seconds)
        elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.blocking:
                name = "/".join(check.asset_key.path)
                self.fail(Progress("check_failed", name, partition, seconds, message=self._check_text(check)))
        elif event.event_type == DagsterEventType.STEP_FAILURE and not _is_check(event):
            kind: Kind = "unreadable" if why(event).startswith(f"{UnreadableError.__name__}:") else "failed"
            self.fail(Progress(kind, step.replace("__", "/"), partition, seconds, message=why(event)))

    def _materialized(self, event: dg.DagsterEvent, partition: str | None, seconds: float) -> None:
        found = event.step_materialization_data.materialization
        name = "/".join(found.asset_key.path)
        count = found.metadata.get("dagster/row_count") or found.metadata.get("dagster/partition_row_count")
        rows = count.value if isinstance(count, dg.IntMetadataValue) else None
        selected = found.metadata.get("selected")
        kept = int(selected.value or 0) if isinstance(selected, dg.IntMetadataValue | dg.FloatMetadataValue) else None
        self.report.materialized.append(name if partition is None else f"{name}@{partition}")
        self.tell(Progress("materialized", name, partition, seconds, rows, kept))

    def cleared(self, key: dg.AssetKey, partition: str, rows: int) -> None:
        """Tells of a batch from which withdrawn rows were taken."""
        name = "/".join(key.path)
        self.report.materialized.append(f"{name}@{partition}")
        self.tell(Progress("materialized", name, partition, None, rows))

    def _check_text(self, check: dg.AssetCheckEvaluation) -> str:
        numbers = {name: value.value for name, value in check.metadata.items() if name in {"bad", "checked"}}
        count = f": {numbers['bad']:g} of {numbers['checked']:g} are bad" if len(numbers) == 2 else ""
        claim = self.graph.get_check_spec(dg.AssetCheckKey(check.asset_key, check.check_name)).description
        return f"{check.check_name}{count}. {claim or ''}".strip()

    def fail(self, progress: Progress) -> None:
        """Reports a failure and tells of it."""
        self.report.failures.append(progress)
        self.tell(progress)


def _is_check(event: dg.DagsterEvent) -> bool:
    """Whether a step failed only because a blocking check said so, which is reported as the check's."""
    error = event.step_failure_data.error
    return error is not None and "DagsterAssetCheckFailedError" in (error.cls_name or "")
