"""Automation: cheap stages follow new and sound records; training waits for a job."""

import dagster as dg

from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows

PAIRS = (
    *("prompts", "completions", "comparisons", "prompt_duplicates"),
    *("annotators", "agreement", "flags", "pair_duplicates", "pairs", "pair_drops"),
)


def requested(lab: Lab, cursor: object) -> tuple[set[str], object]:
    found = dg.evaluate_automation_conditions(defs=lab.definitions(), instance=lab.instance, cursor=cursor)
    keys = lab.definitions().resolve_asset_graph().materializable_asset_keys
    return {"/".join(key.path[1:]) for key in keys if found.get_num_requested(key)}, found.cursor


def ingest(lab: Lab) -> None:
    """What the folder sensor and its run do."""
    from pref_assets.pairs.locations import list_files
    from pref_assets.pipeline import batches

    for file in list_files(str(lab.data)):
        batch = batches.register_file(lab.home, lab.name, "made_up", file)
        if batch.key not in lab.instance.get_dynamic_partitions(f"{lab.name}__made_up"):
            lab.instance.add_dynamic_partitions(f"{lab.name}__made_up", [batch.key])
            job = lab.definitions().resolve_job_def(f"{lab.name}_ingest_made_up")
            job.execute_in_process(instance=lab.instance, partition_key=batch.key, raise_on_error=False)


def test_cheap_stages_follow_new_records_and_nothing_else_does(lab: Lab) -> None:
    nothing, cursor = requested(lab, None)
    assert nothing == set()
    ingest(lab)
    asked, cursor = requested(lab, cursor)
    assert asked == {
        *(f"pairs/{name}" for name in PAIRS),
        "reports/data_card",
        "reports/bias",
        "embeddings/minilm",
        "clusters/topics",
        "clusters/topics_centroids",
        "reward_models/ensemble",
        "scores/strength",
        *(f"subsets/{name}" for name in ("all", "random_8", "deita_8")),
        "reports/map",
    }
    again, _ = requested(lab, cursor)
    assert again == set()


def test_a_refused_batch_is_not_followed(light: Lab) -> None:
    _, cursor = requested(light, None)
    write_rows(light.data / "second.jsonl", [*rows(1, start=24), "{", "{", "{"])
    ingest(light)
    asked, _ = requested(light, cursor)
    assert asked == set()


def test_a_batch_that_was_not_read_yet_is_waited_for(light: Lab) -> None:
    _, cursor = requested(light, None)
    light.instance.add_dynamic_partitions("light__made_up", ["later-00000000"])
    ingest(light)
    asked, _ = requested(light, cursor)
    assert asked == set()
