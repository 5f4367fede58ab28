"""What Dagster's own staleness misses: many batches, and checks that failed."""

import dagster as dg

from pref_assets.pipeline.freshness import AssetStatus, refusals, statuses
from pref_assets.pipeline.jobs import ingested
from pref_assets.pipeline.run import outdated, selected
from pref_assets_tests.pipeline.conftest import Lab

MERGED = ("prompts", "completions", "comparisons", "prompt_duplicates")
CURATED = ("pairs", "pair_drops")
PAIRS = (*MERGED, "annotators", "agreement", "flags", "pair_duplicates", *CURATED)
"""Tables of the pairs stage, what others are made of first."""


def materialized(lab: Lab, keys: list[dg.AssetKey], partition: str | None = None) -> None:
    for key in keys:
        lab.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))


def of_pairs(lab: Lab) -> dict[str, AssetStatus]:
    graph = lab.definitions().resolve_asset_graph()
    keys = {lab.key("pairs", name) for name in PAIRS}
    return {each.key.path[-1]: each for each in statuses(lab.instance, graph, keys)}


def checked(lab: Lab, passed: bool) -> None:
    """The latest outcome of every check of the pairs stage."""
    graph = lab.definitions().resolve_asset_graph()
    for key in graph.asset_check_keys:
        if key.asset_key.path[1] == "pairs":
            lab.instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(asset_key=key.asset_key, check_name=key.name, passed=passed, metadata={})
            )


def test_a_new_batch_among_more_than_a_hundred_is_noticed(light: Lab) -> None:
    keys = sorted(ingested("light", "made_up").resolve(light.definitions().resolve_asset_graph()))
    batches = [f"batch-{number:03}" for number in range(101)]
    light.instance.add_dynamic_partitions("light__made_up", batches)
    for batch in batches:
        materialized(light, keys, batch)
    materialized(light, [light.key("pairs", name) for name in PAIRS])
    checked(light, passed=True)
    assert {each.status for each in of_pairs(light).values()} == {"fresh"}
    light.instance.add_dynamic_partitions("light__made_up", ["batch-101"])
    materialized(light, keys, "batch-101")
    found = of_pairs(light)["comparisons"]
    assert found.status == "stale"
    assert found.causes[0].startswith("new batches of light/records/made_up_")


def test_an_asset_whose_check_failed_or_never_ran_is_blocked(light: Lab) -> None:
    materialized(light, [light.key("pairs", name) for name in PAIRS])
    found = of_pairs(light)
    assert found["pair_drops"].status == "fresh"
    assert found["prompts"].status == "blocked"
    assert found["prompts"].causes == ["check prompt_ids_are_unique failed or did not run"]
    checked(light, passed=True)
    assert {each.status for each in of_pairs(light).values()} == {"fresh"}
    checked(light, passed=False)
    assert len(refusals(light.instance, light.definitions().resolve_asset_graph(), [light.key("pairs", "pairs")])) == 1


def test_tables_that_are_written_together_are_run_together(light: Lab) -> None:
    graph = light.definitions().resolve_asset_graph()
    only = light.key("pairs", "pairs")
    found = outdated(graph, [AssetStatus(only, None, "blocked")], {only, light.key("subsets", "all")})
    assert found == {*(light.key("pairs", name) for name in CURATED), light.key("subsets", "all")}
    assert selected(graph, "light", "key:light/pairs/prompts") == {light.key("pairs", name) for name in MERGED}


def test_what_is_missing_says_so(light: Lab) -> None:
    graph = light.definitions().resolve_asset_graph()
    assert {each.status for each in statuses(light.instance, graph, graph.materializable_asset_keys)} == {"missing"}
