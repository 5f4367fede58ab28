"""The whole graph on tiny data: what it makes, what it says of it, and what a second run does."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._serdes import serialize_value

from pref_assets.evaluation.base import Inputs
from pref_assets.pipeline.assets import evaluations
from pref_assets.pipeline.freshness import statuses
from pref_assets.pipeline.metadata import CELL_CHARACTERS, MAX_SERIES
from pref_assets.pipeline.naming import GROUPS
from pref_assets.training.checkpoint import pair_ids, read_manifest
from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows

MAX_EVENT_BYTES = 16_000


def materializations(lab: Lab) -> list[dg.EventLogEntry]:
    keys = lab.definitions().resolve_asset_graph().materializable_asset_keys
    return [record.event_log_entry for key in keys for record in lab.instance.fetch_materializations(key, 100).records]


def test_every_asset_is_there_and_every_check_passed(done: Lab) -> None:
    graph = done.definitions().resolve_asset_graph()
    found = statuses(done.instance, graph, graph.materializable_asset_keys)
    assert {each.status for each in found} == {"fresh"}
    assert {key.path[1] for key in graph.materializable_asset_keys} == set(GROUPS) - {
        "samples",
        "critiques",
    }  # of `online`, and of reasons
    latest = done.instance.event_log_storage.get_latest_asset_check_execution_by_key(list(graph.asset_check_keys))
    assert {key.name for key in graph.asset_check_keys} == {key.name for key in latest}
    assert all(record.status.value == "SUCCEEDED" for record in latest.values())


def test_what_the_tables_hold(done: Lab) -> None:
    prompts, completions, pairs = (done.read("pairs", name) for name in ("prompts", "completions", "pairs"))
    assert (prompts.height, completions.height) == (24, 72)
    assert pairs.height + done.read("pairs", "pair_drops").height == 24 * 3
    assert done.read("embeddings", "minilm").height == 72
    assert done.read("scores", "strength").height == pairs.height
    subset = done.read("subsets", "random_8")
    assert subset.height == pairs.height
    assert subset["selected"].sum() == 8
    board = done.read("reports", "leaderboard")
    assert {"dpo_random", "dpo_deita", "reward", "scores/strength"} <= set(board["name"])
    control = board.filter((pl.col("name") == "dpo_deita") & (pl.col("metric") == "ranking_accuracy"))["control"]
    assert control.to_list() == ["dpo_random"]


def test_the_map_shows_every_clustering_and_subset(done: Lab) -> None:
    told = done.metadata("reports", "map")
    train = done.read("pairs", "pairs").filter(split="train")
    assert told["points"].value == train.height
    assert "data:image/png" in told["picture"].value
    text = Path(told["file"].value).read_text()
    data = json.loads(text.split('type="application/json">')[1].split("</script>")[0])
    assert [view["name"] for view in data["views"]] == ["topics"]
    assert sorted(point["id"] for point in data["points"]) == sorted(train["pair_id"])
    sizes = {subset["name"]: len(subset["picked"]) for subset in data["subsets"]}
    assert sizes == {"all": train.height, "random_8": 8, "deita_8": 8}


def test_a_checkpoint_pins_the_rows_it_learned_from(done: Lab) -> None:
    folder = done.metadata("checkpoints", "dpo_random")["folder"].value
    manifest = read_manifest(folder)
    pinned = done.tables.read(manifest.subset.key, version=manifest.subset.delta_version)
    assert sorted(pinned.filter("selected")["pair_id"]) == pair_ids(folder)
    assert set(manifest.tables) == {"pairs", "prompts", "completions"}


def test_a_checkpoint_and_an_evaluation_have_an_mlflow_run(done: Lab) -> None:
    from mlflow import MlflowClient

    url = done.metadata("checkpoints", "dpo_random")["mlflow"].value
    run = MlflowClient(f"sqlite:///{done.home.root / 'mlflow.db'}").get_run(url.rsplit("/", 1)[1])
    assert run.data.tags["dagster.asset_key"] == "tiny/checkpoints/dpo_random"
    assert run.data.params["objective.type"] == "dpo"
    assert "loss" in run.data.metrics
    evaluation = done.metadata("evaluations", "ranking")["mlflow"].value
    tags = MlflowClient(f"sqlite:///{done.home.root / 'mlflow.db'}").get_run(evaluation.rsplit("/", 1)[1]).data.tags
    assert tags["checkpoint.dpo_random"] == run.info.run_id
    alone = MlflowClient(f"sqlite:///{done.home.root / 'mlflow.db'}").get_run(
        done.metadata("evaluations", "accuracy")["mlflow"].value.rsplit("/", 1)[1]
    )
    assert (
        alone.data.tags["mlflow.parentRunId"] == done.metadata("checkpoints", "reward")["mlflow"].value.rsplit("/")[-1]
    )


def test_a_policy_is_measured_against_the_base_it_was_trained_from(done: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Inputs] = []

    def stop(settings: Any, inputs: Inputs, *_: Any) -> None:
        asked.append(inputs)
        raise RuntimeError("seen enough")

    monkeypatch.setattr(evaluations, "evaluate", stop)
    attributes = copy.deepcopy(done.attributes)
    (base,) = attributes["reference_logps"].values()
    trained_with, base["max_length"] = base.get("max_length", 512), 77
    job = replace(done, attributes=attributes).definitions().resolve_job_def(f"{done.name}_evaluate")
    key = next(
        done.key("evaluations", n) for n, e in attributes["evaluations"].items() if e["type"] == "ranking_accuracy"
    )
    assert not job.execute_in_process(instance=done.instance, asset_selection=[key], raise_on_error=False).success
    assert {each.reference["max_length"] for each in asked[0].checkpoints if each.reference} == {trained_with}


def test_events_are_small_and_previews_short(done: Lab) -> None:
    for entry in materializations(done):
        event: Any = entry.dagster_event.event_specific_data  # type: ignore[union-attr]
        found = event.materialization
        assert len(serialize_value(entry).encode()) <= MAX_EVENT_BYTES, found.asset_key
        numbers = [v for k, v in found.metadata.items() if isinstance(v, dg.FloatMetadataValue) and "/" not in k]
        assert len(numbers) <= MAX_SERIES, found.asset_key
        for value in found.metadata.values():
            if isinstance(value, dg.TableMetadataValue):
                cells = [cell for record in value.records for cell in record.data.values()]
                assert len(value.records) <= 5
                assert all(len(cell) <= CELL_CHARACTERS for cell in cells if isinstance(cell, str))


def test_previews_show_texts(done: Lab) -> None:
    record = done.metadata("pairs", "pairs")["preview"].records[0].data
    assert record["prompt"].startswith("Tell me of")
    assert "answer" in record["chosen"]


def test_every_asset_explains_itself(done: Lab) -> None:
    graph = done.definitions().resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description
        assert "**Inputs:**" in node.description
        assert node.owners
        assert node.kinds
        assert node.code_version
        assert node.group_name == f"tiny_{GROUPS[key.path[1]]}"
        if key.path[1] not in {"checkpoints", "reward_models"} and key.path[2] not in {"data_card", "map"}:
            assert node.metadata["dagster/column_schema"].columns
    checks = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    assert all(check.description for check in checks)


def test_groups_sort_in_the_order_of_the_stages() -> None:
    stages = list(GROUPS)
    assert sorted(stages, key=lambda stage: GROUPS[stage]) == stages
    assert len(set(GROUPS.values())) == 9


def test_a_second_run_does_nothing(done: Lab) -> None:
    report = done.run()
    assert (report.materialized, report.registered, report.failures) == ([], [], [])
    assert report.fresh == len(done.definitions().resolve_asset_graph().materializable_asset_keys)


def test_the_same_rows_again_leave_everything_downstream_fresh(light: Lab) -> None:
    assert light.run().ok
    job = light.definitions().resolve_job_def("light_curate")
    assert job.execute_in_process(instance=light.instance, asset_selection=[light.key("pairs", n) for n in _PAIRS])
    assert light.run().materialized == []


_PAIRS = ("prompts", "completions", "comparisons", "prompt_duplicates", "pairs", "pair_drops")


def test_a_new_file_becomes_a_batch_and_only_new_work_is_done(light: Lab) -> None:
    light.run()
    write_rows(light.data / "second.jsonl", rows(12, start=24))
    report = light.run()
    assert report.ok
    (batch,) = report.registered
    ingested = [name for name in report.materialized if "@" in name]
    assert len(ingested) == 5
    assert all(name.endswith(f"@{batch}") for name in ingested)
    assert {"light/pairs/pairs", "light/subsets/all"} <= set(report.materialized)
    assert light.read("pairs", "prompts").height == 36
    assert light.run().materialized == []


def test_a_batch_that_changes_nothing_leaves_everything_after_the_pairs_fresh(light: Lab) -> None:
    light.run()
    before = {name: light.tables.snapshot(["light", "pairs", name]).version for name in ("pairs", "comparisons")}
    (light.data / "second.jsonl").write_text("\n\n")
    report = light.run()
    assert report.ok
    assert len(report.registered) == 1
    # The data card names every file that was read.
    assert {name.split("/")[1] for name in report.materialized} == {"raw", "records", "pairs", "reports"}
    assert {name: light.tables.snapshot(["light", "pairs", name]).version for name in before} == before
    assert light.run().materialized == []


def test_editing_one_entry_makes_only_its_branch_stale(light: Lab) -> None:
    light.run()
    light.attributes["subsets"]["random_8"]["seed"] = 7
    assert light.run().materialized == ["light/subsets/random_8"]


def test_a_selection_runs_nothing_else(light: Lab) -> None:
    light.run()
    light.attributes["subsets"]["random_8"]["seed"] = 7
    light.attributes["subsets"]["more"] = {"type": "all"}
    assert light.run("key:light/subsets/more").materialized == ["light/subsets/more"]
    with pytest.raises(ValueError, match="names no asset of light"):
        light.run("group:nothing")
    with pytest.raises(ValueError, match=r"'key:\(' is no selection; write it like `key:light/pairs/pairs\+`"):
        light.run("key:(")


def test_an_unknown_pipeline_names_the_known_ones(light: Lab) -> None:
    light.run()
    definitions = light.definitions()
    light.attributes["name"] = "lihgt"
    from pref_assets.pipeline.run import UnknownPipelineError, run_pipeline

    with pytest.raises(UnknownPipelineError, match=r"known: light \(did you mean 'light'\?\)"):
        run_pipeline(light.instance, "lihgt", definitions=definitions, home=light.home)


def test_bad_rows_go_to_quarantine_and_the_run_goes_on(light: Lab) -> None:
    bad = ["{not json", json.dumps(["a list"]), json.dumps({"prompt": "no completions"})]
    write_rows(light.data / "second.jsonl", [*rows(24, start=24), *bad])
    assert light.run().ok
    found = light.read("records", "made_up_quarantine")
    assert found.select("row", "code").sort("row").rows() == [
        (25, "not_json"),
        (26, "not_an_object"),
        (27, "missing_field"),
    ]
    assert light.read("pairs", "prompts").height == 48


def test_a_batch_of_bad_rows_stops_before_anything_trains(light: Lab) -> None:
    write_rows(light.data / "second.jsonl", [*rows(2, start=24), "{", "{", "{"])
    report = light.run()
    assert [failure.kind for failure in report.failures] == ["check_failed"]
    assert "few_rows_of_a_batch_are_bad" in report.failures[0].message
    assert not light.tables.exists(["light", "subsets", "all"])
    light.attributes["sources"]["made_up"]["max_bad_share"] = 0.7
    assert light.run().ok
    assert light.tables.exists(["light", "subsets", "all"])


@pytest.mark.parametrize("cure", ["mended", "removed"])
def test_a_refused_batch_gives_way_when_its_file_is_mended_or_removed(light: Lab, cure: str) -> None:
    bad = light.data / "second.jsonl"
    write_rows(bad, [*rows(2, start=24), "{", "{", "{"])
    assert not light.run().ok
    if cure == "mended":
        write_rows(bad, rows(5, start=24))
    else:
        bad.unlink()
    heard = []
    assert light.run(listener=heard.append).ok
    assert [each.kind for each in heard].count("taken_back") == 1
    assert light.read("pairs", "prompts").height == (29 if cure == "mended" else 24)


def test_an_accepted_batch_stays_when_its_file_goes(light: Lab) -> None:
    assert light.run().ok
    (light.data / "first.jsonl").unlink()
    write_rows(light.data / "second.jsonl", rows(4, start=24))
    assert light.run().ok
    assert light.read("pairs", "prompts").height == 28


def test_a_file_that_changed_after_it_was_registered_is_refused(light: Lab) -> None:
    light.run()
    (light.data / "first.jsonl").write_text("{}\n")
    job = light.definitions().resolve_job_def("light_ingest_made_up")
    (batch,) = light.instance.get_dynamic_partitions("light__made_up")
    result = job.execute_in_process(instance=light.instance, partition_key=batch, raise_on_error=False)
    assert not result.success
    error = str(result.get_step_failure_events()[0].step_failure_data.error)
    assert "changed since it was registered" in error
    assert "put the old content back" in error
    assert light.read("pairs", "prompts").height == 24


def test_a_damaged_file_is_named_until_it_is_mended_and_the_others_go_on(light: Lab) -> None:
    (light.data / "second.jsonl.gz").write_bytes(b"\x1f\x8b\x08not gzip")
    report = light.run()
    assert not report.ok
    assert "second.jsonl.gz: damaged gzip file" in report.failures[0].message
    assert light.read("pairs", "prompts").height == 24
    (light.data / "second.jsonl.gz").unlink()
    write_rows(light.data / "second.jsonl", rows(4, start=24))
    assert light.run().ok
    assert light.read("pairs", "prompts").height == 28
    assert len(light.instance.get_dynamic_partitions("light__made_up")) == 2
