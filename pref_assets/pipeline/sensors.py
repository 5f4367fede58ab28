"""Sensors: a new file becomes a batch and a run; what failed is written down."""

import json
from datetime import UTC, datetime

import dagster as dg

from pref_assets.home import Home
from pref_assets.pairs.locations import LocationError, is_hub
from pref_assets.pairs.places import find_places, look, pinned
from pref_assets.pipeline import batches
from pref_assets.pipeline.jobs import ingest_job
from pref_assets.pipeline.naming import source_partitions
from pref_assets.pipeline.refused import take_back
from pref_assets.pipeline.spec import PipelineSpec

SECONDS_BETWEEN_LOOKS = 30
READ = "read"
_FAILURES = "failures.jsonl"


def sensors(spec: PipelineSpec) -> list[dg.SensorDefinition]:
    """One folder sensor for every source of files, and the automation of the cheap stages."""
    watching = [_source_sensor(spec, name) for name, source in spec.sources.items() if not is_hub(source.location)]
    return [*watching, _automation(spec)]


def _automation(spec: PipelineSpec) -> dg.SensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        f"{spec.name}_follow_new_records",
        target=dg.AssetSelection.key_prefixes([spec.name]),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs the cheap stages, from pairs to subsets, when new records have arrived and are sound. "
        f"Training waits: start the job `{spec.name}_train`, then `{spec.name}_evaluate`.",
    )


def _source_sensor(spec: PipelineSpec, name: str) -> dg.SensorDefinition:
    location = spec.sources[name].location
    partitions = source_partitions(spec.name, name)

    @dg.sensor(
        name=f"{spec.name}_watch_{name}",
        job_name=ingest_job(spec.name, name),
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Looks at `{location}`. A file that is the same in two looks becomes a batch and a run of "
        f"`{ingest_job(spec.name, name)}`; one that still grows waits; content that was read before does nothing. "
        "Off at first: turn it on with the switch on this page (Automation in the menu).",
    )
    def watch(context: dg.SensorEvaluationContext, home: dg.ResourceParam[Home]) -> dg.SensorResult:
        try:
            files = find_places(location)
        except LocationError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        known = set(context.instance.get_dynamic_partitions(str(partitions.name)))
        before: dict[str, str] = json.loads(context.cursor or "{}")
        seen, new, waiting = {}, {}, []
        for uri, place in files:
            now = look(place)
            if now is None:
                continue
            if before.get(uri) == f"{READ}:{now}":
                seen[uri] = before[uri]
            elif before.get(uri) != now:
                seen[uri] = now
                waiting.append(uri)
            else:
                try:
                    file = pinned(uri, place)
                except LocationError as error:
                    context.log.warning(str(error))
                    continue
                if look(place) != now:
                    waiting.append(uri)
                    continue
                seen[uri] = f"{READ}:{now}"
                batch = batches.register_file(home, spec.name, name, file)
                if batch.key not in known:
                    new[batch.key] = batch
        if new:
            take_back(context.instance, home, spec.name, name, spec.sources[name].max_bad_share)
        requests = [
            dg.RunRequest(run_key=batch.sha256 or key, partition_key=key, tags={"pipeline": spec.name, "source": name})
            for key, batch in new.items()
        ]
        quiet = f"{len(files)} files, {len(waiting)} not yet the same in two looks, none new"
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else quiet,
            dynamic_partitions_requests=[partitions.build_add_request(list(new))] if new else [],
            cursor=json.dumps(seen, separators=(",", ":"), sort_keys=True),
        )

    return watch


@dg.run_failure_sensor(
    name="report_failures",
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Writes every failed run to `{_FAILURES}` in the state folder: which assets, which step, why.",
)
def report_failures(context: dg.RunFailureSensorContext, home: dg.ResourceParam[Home]) -> None:
    report = failure_report(context)
    home.root.mkdir(parents=True, exist_ok=True)
    with (home.root / _FAILURES).open("a") as stream:
        stream.write(json.dumps(report, ensure_ascii=False) + "\n")
    steps = "; ".join(f"{step['step']}: {step['error']}" for step in report["steps"]) or report["message"]
    context.log.error(f"run {report['run_id']} of {report['job']} failed: {steps}")


def failure_report(context: dg.RunFailureSensorContext) -> dict:
    """What failed and why, short enough to read."""
    run = context.dagster_run
    steps = [{"step": event.step_key, "error": why(event)} for event in context.get_step_failure_events()]
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": run.run_id,
        "job": run.job_name,
        "partition": run.tags.get("dagster/partition"),
        "assets": sorted("/".join(key.path) for key in run.asset_selection or ()),
        "message": context.failure_event.message or "the run failed",
        "steps": steps,
    }


def why(event: dg.DagsterEvent) -> str:
    """What a step's own code said when it failed, without Dagster's wrapping and module paths."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None and error.cls_name == "DagsterExecutionStepExecutionError":
        error = error.cause
    if error is None:
        return event.message or "unknown"
    kind, colon, text = error.message.strip().partition(": ")
    return f"{kind.rsplit('.')[-1]}{colon}{text}"
