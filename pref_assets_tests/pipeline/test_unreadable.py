"""Unreadable files: one clear error each, and the run goes on with the others."""

import gzip
import json
from pathlib import Path

import dagster as dg
import fsspec

from pref_assets.pipeline import batches
from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows


def test_the_run_goes_on_without_the_files_it_cannot_read(light: Lab) -> None:
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows(30, 200)).encode())
    (light.data / "cut.jsonl.gz").write_bytes(packed[:-20])
    (light.data / "page.jsonl").write_text("<html>503</html>")
    (light.data / "loop.jsonl").symlink_to("loop.jsonl")
    write_rows(light.data / "second.jsonl", rows(6, 100))
    report = light.run()
    assert not report.ok
    assert {failure.kind for failure in report.failures} == {"unreadable"}
    messages = " ".join(failure.message for failure in report.failures)
    assert [name in messages for name in ("cut.jsonl.gz", "page.jsonl", "loop.jsonl")] == [True] * 3
    assert len(report.failures) == 3
    assert light.read("records", "made_up_prompts").height == 30
    assert light.read("pairs", "prompts").height == 30
    kept = [Path(batch.uri).name for batch in batches.registered(light.home, light.name, "made_up")]
    assert sorted(kept) == ["first.jsonl", "second.jsonl"]
    assert len(light.instance.get_dynamic_partitions("light__made_up")) == 2

    again = light.run()
    assert len(again.failures) == 3
    assert not [name for name in again.materialized if "raw" not in name]

    (light.data / "cut.jsonl.gz").write_bytes(packed)
    (light.data / "page.jsonl").unlink()
    (light.data / "loop.jsonl").unlink()
    mended = light.run()
    assert mended.ok
    assert light.read("pairs", "prompts").height == 60


def test_a_pipeline_whose_only_file_is_unreadable_stops_with_its_error(light: Lab) -> None:
    (light.data / "first.jsonl").write_text("<html>503</html>")
    report = light.run()
    assert [failure.kind for failure in report.failures] == ["unreadable"]
    assert "first.jsonl" in report.failures[0].message
    assert report.materialized == []


def test_an_object_store_is_a_source_like_a_folder(light: Lab) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/lab/first.jsonl", (light.data / "first.jsonl").read_bytes())
    light.attributes["sources"]["made_up"]["location"] = "memory://lab/*.jsonl"
    try:
        assert light.run().ok
        assert set(light.read("records", "made_up_prompts")["uri"]) == {"memory:///lab/first.jsonl"}
        assert light.run().materialized == []
        (sensor,) = [each for each in light.definitions().sensors or () if each.name == "light_watch_made_up"]
        context = dg.build_sensor_context(light.instance, resources={"home": light.home})
        assert "1 files" in str(sensor(context).skip_reason)  # type: ignore[operator]
    finally:
        store.rm("/lab", recursive=True)
