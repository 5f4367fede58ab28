"""Every check fails on planted bad data, and a failed blocking check stops what is downstream."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from pref_assets.pairs import curation as curating
from pref_assets.pipeline.assets import curation as curation_assets
from pref_assets.pipeline.training_checks import manifest_problems, spread_over_lengths
from pref_assets.resources.tables import TABLES
from pref_assets.training.checkpoint import METRICS, PAIR_IDS
from pref_assets_tests.pipeline.conftest import Lab


def outcome(lab: Lab, stage: str, name: str, check: str) -> dg.AssetCheckEvaluation:
    """Runs one check by itself, with an event log of its own, so that the lab's stays clean."""
    definitions = lab.definitions()
    instance = dg.DagsterInstance.ephemeral()
    partitions = f"{lab.name}__made_up"
    instance.add_dynamic_partitions(partitions, list(lab.instance.get_dynamic_partitions(partitions)))
    key = dg.AssetCheckKey(lab.key(stage, name), check)
    graph = definitions.resolve_asset_graph()
    assert key in graph.asset_check_keys
    result = dg.materialize(
        [*(definitions.assets or ()), *(definitions.asset_checks or ())],
        selection=dg.AssetSelection.checks(key),
        instance=instance,
        resources=definitions.resources,
        raise_on_error=False,
    )
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.severity == dg.AssetCheckSeverity.ERROR
    return evaluation


@contextmanager
def planted(lab: Lab, stage: str, name: str, bad: pl.DataFrame) -> Iterator[None]:
    """The table with bad rows, put back afterwards."""
    key = [lab.name, stage, name]
    table = next(t for t in TABLES.values() if list(t.columns) == lab.read(stage, name).columns)
    good = lab.read(stage, name)
    lab.tables.write(key, bad, table)
    try:
        yield
    finally:
        lab.tables.write(key, good, table)


def first(column: str, value: object) -> pl.Expr:
    """``column`` with another value in the first row."""
    return pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)


def selected_held_out(lab: Lab) -> pl.DataFrame:
    decisions, pairs = lab.read("subsets", "random_8"), lab.read("pairs", "pairs")
    held_out = pairs.filter(pl.col("split") == "test")["pair_id"][0]
    return decisions.with_columns(selected=pl.col("selected") | (pl.col("pair_id") == held_out))


@pytest.mark.parametrize(
    ("stage", "name", "check", "spoil"),
    [
        ("pairs", "prompts", "prompt_ids_are_unique", lambda f: pl.concat([f, f.head(1)])),
        ("pairs", "completions", "completion_ids_are_unique", lambda f: pl.concat([f, f.head(1)])),
        ("pairs", "pairs", "pair_ids_are_unique", lambda f: pl.concat([f, f.head(1)])),
        (
            "pairs",
            "pairs",
            "prompts_do_not_leak_across_splits",
            lambda f: f.with_columns(first("split", "test" if f["split"][0] == "train" else "train")),
        ),
        ("pairs", "pairs", "votes_are_resolved", lambda f: f.with_columns(first("p_chosen", 0.4))),
        ("pairs", "pairs", "votes_are_resolved", lambda f: f.with_columns(first("p_chosen", None))),
        ("pairs", "pairs", "votes_are_resolved", lambda f: f.with_columns(rejected_id="chosen_id")),
        ("pairs", "pairs", "both_sides_have_texts", lambda f: f.with_columns(first("chosen_id", "nobody"))),
        ("embeddings", "minilm", "every_completion_has_a_vector", lambda f: f.head(-1)),
        ("embeddings", "minilm", "every_completion_has_a_vector", lambda f: f.with_columns(first("key", "other"))),
        ("clusters", "topics", "everything_has_one_cluster", lambda f: f.head(-1)),
        ("scores", "strength", "every_pair_is_scored_once", lambda f: f.with_columns(first("score", float("nan")))),
        ("scores", "strength", "every_pair_is_scored_once", lambda f: f.head(-1)),
        ("scores", "strength", "every_pair_is_scored_once", lambda f: f.with_columns(first("p_correct", 1.5))),
        ("subsets", "random_8", "budget_is_exact", lambda f: f.with_columns(selected=pl.lit(True))),
        ("subsets", "random_8", "budget_is_exact", lambda f: f.with_columns(selected=pl.lit(False))),
        ("subsets", "random_8", "every_pair_has_one_decision", lambda f: f.head(-1)),
        ("subsets", "random_8", "every_pair_has_one_decision", lambda f: pl.concat([f, f.head(1)])),
        ("subsets", "random_8", "every_pair_has_one_decision", lambda f: f.with_columns(first("reason", ""))),
        (
            "subsets",
            "random_8",
            "every_pair_has_one_decision",
            lambda f: f.sort("selected", descending=True).with_columns(first("weight", -1.0)),
        ),
        ("reference_logps", "llama", "log_probabilities_are_finite", lambda f: f.with_columns(first("logp", 0.5))),
        (
            "reference_logps",
            "llama",
            "log_probabilities_are_finite",
            lambda f: f.with_columns(first("logp", float("-inf"))),
        ),
        ("evaluations", "ranking", "values_lie_in_their_intervals", lambda f: f.with_columns(value=pl.col("hi") + 1)),
        ("evaluations", "ranking", "values_lie_in_their_intervals", lambda f: f.with_columns(first("n", 0))),
    ],
)
def test_a_check_fails_on_planted_rows(done: Lab, stage: str, name: str, check: str, spoil) -> None:  # type: ignore[no-untyped-def]
    assert outcome(done, stage, name, check).passed
    with planted(done, stage, name, spoil(done.read(stage, name))):
        assert not outcome(done, stage, name, check).passed


def test_a_selected_held_out_pair_is_refused(done: Lab) -> None:
    with planted(done, "subsets", "random_8", selected_held_out(done)):
        found = outcome(done, "subsets", "random_8", "held_out_pairs_are_not_selected")
    assert not found.passed
    assert found.metadata["bad"].value == 1.0
    examples = found.metadata["examples"]
    assert isinstance(examples, dg.TableMetadataValue)
    assert examples.records[0].data["split"] == "test"


def test_too_many_bad_rows_are_refused(done: Lab) -> None:
    raw = done.read("raw", "made_up")
    quarantine = TABLES["quarantine"].conform(raw.head(10).with_columns(code=pl.lit("not_json"), reason=pl.lit("x")))
    (batch,) = raw["batch"].unique()
    key = [done.name, "records", "made_up_quarantine"]
    done.tables.write(key, quarantine, TABLES["quarantine"], batch)
    try:
        for stage, name, check in (
            ("records", "made_up_quarantine", "few_rows_of_a_batch_are_bad"),
            ("pairs", "pairs", "few_rows_of_made_up_are_bad"),
        ):
            assert not outcome(done, stage, name, check).passed
            assert "or raise `sources.made_up.max_bad_share`" in described(done, stage, name, check)
    finally:
        done.tables.write(key, quarantine.clear(), TABLES["quarantine"], batch)


def described(lab: Lab, stage: str, name: str, check: str) -> str:
    graph = lab.definitions().resolve_asset_graph()
    return graph.get_check_spec(dg.AssetCheckKey(lab.key(stage, name), check)).description or ""


@contextmanager
def changed(folder: Path, file: str, text: str) -> Iterator[None]:
    kept = shutil.copy(folder / file, folder.parent / "kept")
    (folder / file).write_text(text)
    try:
        yield
    finally:
        shutil.move(kept, folder / file)


def folder_of(lab: Lab, name: str) -> Path:
    return Path(lab.metadata("checkpoints", name)["folder"].value)


@pytest.mark.parametrize("text", ['{"step": 1, "loss": NaN}\n', '{"step": 1, "loss": Infinity}\n', '{"step": 1}\n', ""])
def test_a_loss_that_is_no_number_is_refused(done: Lab, text: str) -> None:
    assert outcome(done, "checkpoints", "dpo_random", "training_loss_is_finite").passed
    with changed(folder_of(done, "dpo_random"), METRICS, text):
        assert not outcome(done, "checkpoints", "dpo_random", "training_loss_is_finite").passed


def test_a_manifest_that_does_not_match_its_tables_is_refused(done: Lab) -> None:
    folder = folder_of(done, "dpo_random")
    assert outcome(done, "checkpoints", "dpo_random", "manifest_matches_table_versions").passed
    manifest = json.loads((folder / "manifest.json").read_text())
    for spoiled, expected in (
        ({**manifest["subset"], "data_version": "0" * 32}, "not 0000"),
        ({**manifest["subset"], "delta_version": 99}, "no version 99"),
        ({**manifest["subset"], "key": ["tiny", "subsets", "gone"]}, "no such table"),
    ):
        with changed(folder, "manifest.json", json.dumps({**manifest, "subset": spoiled})):
            (problem,) = manifest_problems(folder, done.tables)
            assert expected in problem
            assert not outcome(done, "checkpoints", "dpo_random", "manifest_matches_table_versions").passed
    ids = (folder / PAIR_IDS).read_text()
    with changed(folder, PAIR_IDS, ids.splitlines()[0]):
        assert "tampered" in manifest_problems(folder, done.tables)[0]


def test_training_on_a_held_out_prompt_is_refused(done: Lab) -> None:
    assert outcome(done, "checkpoints", "dpo_random", "held_out_prompts_did_not_train").passed
    trained = done.read("subsets", "random_8").filter("selected").sort("pair_id")["pair_id"][0]
    pairs = done.read("pairs", "pairs")
    of_it = pairs.filter(pl.col("pair_id") == trained)["prompt_id"][0]
    spoiled = pairs.with_columns(
        split=pl.when((pl.col("prompt_id") == of_it) & (pl.col("pair_id") != trained))
        .then(pl.lit("test"))
        .otherwise("split")
    )
    with planted(done, "pairs", "pairs", spoiled):
        assert not outcome(done, "checkpoints", "dpo_random", "held_out_prompts_did_not_train").passed


def test_rewards_that_depend_on_the_batch_are_refused(done: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from pref_assets.training.reward_model import RewardModel

    name = "rewards_do_not_depend_on_batching"
    good = outcome(done, "checkpoints", "reward", name)
    assert good.passed
    assert good.metadata["texts"].value == 32.0
    assert float(good.metadata["spread"].value or 0) > float(good.metadata["largest_difference"].value or 0)
    forward = RewardModel.forward
    monkeypatch.setattr(RewardModel, "forward", lambda self, batch: forward(self, batch) + 0.01 * len(batch))
    assert not outcome(done, "checkpoints", "reward", name).passed


def test_the_sample_of_texts_spans_the_lengths() -> None:
    prompts = pl.DataFrame({"prompt_id": ["p"], "messages": [[{"role": "user", "content": "?"}]]})
    answers = [[{"role": "assistant", "content": "a" * length}] for length in range(1, 11)]
    completions = pl.DataFrame(
        {"completion_id": [f"c{n:02}" for n in range(10)], "prompt_id": "p", "messages": answers}
    )
    lengths = spread_over_lengths(prompts, completions, 4)["text"].str.len_chars() - 3
    assert lengths.to_list() == [1, 4, 7, 10]


def test_blocking_is_what_guards_training(done: Lab) -> None:
    graph = done.definitions().resolve_asset_graph()
    free = {key.name for key in graph.asset_check_keys if not graph.get_check_spec(key).blocking}
    assert free == {"everything_has_one_cluster", "values_lie_in_their_intervals"}


def test_a_leak_stops_the_run_before_the_subsets(light: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(*arguments: Any) -> Iterator[pl.DataFrame]:
        return (part.with_columns(first("split", "elsewhere")) for part in curating.kept(*arguments))

    monkeypatch.setattr(curation_assets, "kept", leaking)
    report = light.run()
    assert [failure.kind for failure in report.failures] == ["check_failed"]
    assert "prompts_do_not_leak_across_splits: " in report.failures[0].message
    assert light.tables.exists(["light", "pairs", "pairs"])
    assert not light.tables.exists(["light", "subsets", "all"])
    assert light.run().failures != []
    monkeypatch.undo()
    again = light.run()
    assert again.ok
    assert "light/pairs/pairs" in again.materialized
    assert light.tables.exists(["light", "subsets", "all"])
