"""Sensors: what a new, a growing, a known and a renamed file do; and what a failed run leaves behind."""

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg

from pref_assets.pipeline import batches
from pref_assets.pipeline.sensors import report_failures
from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows


def watch(lab: Lab) -> dg.SensorDefinition:
    (sensor,) = [each for each in lab.definitions().sensors or () if each.name == f"{lab.name}_watch_made_up"]
    assert isinstance(sensor, dg.SensorDefinition)
    return sensor


def tick(lab: Lab, cursor: str | None) -> dg.SensorResult:
    """One evaluation, with its partition requests applied as the daemon does."""
    sensor = watch(lab)
    context = dg.build_sensor_context(
        instance=lab.instance, cursor=cursor, resources={"home": lab.home}, definitions=lab.definitions()
    )
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for request in result.dynamic_partitions_requests or ():
        lab.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
    return result


def requests(result: dg.SensorResult) -> list[tuple[str | None, str | None]]:
    return [(request.run_key, request.partition_key) for request in result.run_requests or ()]


def test_a_file_is_read_when_it_is_the_same_in_two_looks(light: Lab) -> None:
    first = tick(light, None)
    assert requests(first) == []
    assert "1 not yet the same in two looks" in str(first.skip_reason)
    second = tick(light, first.cursor)
    (batch,) = batches.registered(light.home, "light", "made_up")
    assert requests(second) == [(batch.sha256, batch.key)]
    assert light.instance.get_dynamic_partitions("light__made_up") == [batch.key]
    third = tick(light, second.cursor)
    assert requests(third) == []


def test_a_growing_file_waits(light: Lab) -> None:
    path = light.data / "first.jsonl"
    cursor = tick(light, None).cursor
    for number in range(3):
        write_rows(path, rows(24 + number))
        result = tick(light, cursor)
        assert requests(result) == []
        cursor = result.cursor
    assert len(requests(tick(light, cursor))) == 1


def test_an_unfinished_copy_is_no_file(light: Lab) -> None:
    write_rows(light.data / "second.jsonl.part", rows(2))
    write_rows(light.data / ".third.jsonl", rows(2))
    cursor = tick(light, None).cursor
    assert list(json.loads(cursor or "")) == [str(light.data / "first.jsonl")]


def test_the_same_content_again_does_nothing(light: Lab) -> None:
    cursor = tick(light, tick(light, None).cursor).cursor
    write_rows(light.data / "copy.jsonl", rows(24))
    os.utime(light.data / "first.jsonl", (1, 1))
    for _ in range(3):
        result = tick(light, cursor)
        assert requests(result) == []
        cursor = result.cursor
    assert len(batches.registered(light.home, "light", "made_up")) == 1


def test_a_file_that_the_command_line_has_read_does_nothing(light: Lab) -> None:
    light.run()
    assert requests(tick(light, tick(light, None).cursor)) == []


def test_a_request_that_was_lost_is_made_again(light: Lab) -> None:
    sensor = watch(light)

    def look(cursor: str | None) -> Any:
        return sensor(dg.build_sensor_context(light.instance, cursor, resources={"home": light.home}))

    cursor = look(None).cursor
    lost = look(cursor)
    assert requests(look(cursor)) == requests(lost) != []


def test_the_cursor_is_compact_json(light: Lab) -> None:
    cursor = tick(light, tick(light, None).cursor).cursor
    status = (light.data / "first.jsonl").stat()
    assert json.loads(cursor or "") == {str(light.data / "first.jsonl"): f"read:{status.st_size}-{status.st_mtime_ns}"}
    assert " " not in (cursor or "").replace(str(light.data), "")


def test_a_missing_folder_is_a_reason_to_skip(light: Lab) -> None:
    (light.data / "first.jsonl").unlink()
    light.data.rmdir()
    assert "no such file or folder" in str(tick(light, None).skip_reason)


def test_the_requested_run_reads_the_batch(light: Lab) -> None:
    result = tick(light, tick(light, None).cursor)
    (request,) = result.run_requests or ()
    job = light.definitions().resolve_job_def("light_ingest_made_up")
    assert job.execute_in_process(instance=light.instance, partition_key=request.partition_key).success
    assert light.read("records", "made_up_prompts").height == 24


def test_a_failed_run_is_written_down(light: Lab) -> None:
    (light.data / "first.jsonl").rename(light.data / "moved.jsonl")
    light.instance.add_dynamic_partitions("light__made_up", ["nothing-12345678"])
    job = light.definitions().resolve_job_def("light_ingest_made_up")
    result = job.execute_in_process(instance=light.instance, partition_key="nothing-12345678", raise_on_error=False)
    (failure,) = [event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE]
    context = dg.build_run_status_sensor_context(
        "report_failures", failure, light.instance, result.dagster_run, resources={"home": light.home}
    ).for_run_failure()
    report_failures(context)
    (line,) = (light.home.root / "failures.jsonl").read_text().splitlines()
    report = json.loads(line)
    assert report["job"] == "light_ingest_made_up"
    assert report["partition"] == "nothing-12345678"
    assert report["steps"][0]["step"] == "light__raw__made_up"
    assert report["steps"][0]["error"].startswith("BatchError: light: source made_up has no batch 'nothing-12345678'")


def test_only_the_automation_and_the_failure_sensor_are_on_by_default(light: Lab) -> None:
    sensors = {sensor.name: sensor.default_status for sensor in light.definitions().sensors or ()}
    assert sensors == {
        "light_watch_made_up": dg.DefaultSensorStatus.STOPPED,
        "light_follow_new_records": dg.DefaultSensorStatus.RUNNING,
    }
    assert report_failures.default_status == dg.DefaultSensorStatus.RUNNING


def test_a_hub_source_has_no_folder_to_watch(light: Lab, tmp_path: Path) -> None:
    light.attributes["sources"]["made_up"]["location"] = "hf://org/name"
    assert [sensor.name for sensor in light.definitions().sensors or ()] == ["light_follow_new_records"]
