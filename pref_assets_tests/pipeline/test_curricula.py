"""Curricula: one entry, a checkpoint a stage, each from the one before (card 37)."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pref_assets.pipeline.spec_errors import SpecError, parse_spec
from pref_assets.training.checkpoint import METRICS, PAIR_IDS, Manifest, read_manifest
from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows

POLICY = {"subset": "curry", "base": "llama", "learning_rate": 0.01, "batch_pairs": 4}


def attributes(data: Path, llama: Path) -> dict[str, Any]:
    return {
        "name": "stages",
        "sources": {"made_up": {"type": "completions", "location": str(data)}},
        "pairs": {"pairing": {"type": "best_vs_rest"}, "splits": {"test": 0.3, "validation": 0.0}},
        "subsets": {"curry": {"type": "curry", "stages": 2}},
        "reference_logps": {"llama": {"model": str(llama), "max_length": 64}},
        "curricula": {
            "moving": {"stages": 2, "policy": POLICY},
            "fixed": {"stages": 2, "reference": "first", "policy": POLICY},
        },
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Lab:
    folder = tmp_path_factory.mktemp("curricula")
    write_rows(folder / "data" / "first.jsonl", rows(12))
    lab = Lab(folder, attributes(folder / "data", llama))
    report = lab.run()
    assert report.ok, report.failures
    return lab


def folder(lab: Lab, name: str) -> Path:
    return Path(lab.metadata("checkpoints", name)["folder"].value)


def manifest(lab: Lab, name: str) -> Manifest:
    return read_manifest(folder(lab, name))


def losses(lab: Lab, name: str) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder(lab, name) / METRICS).read_text().splitlines()]


def test_each_stage_starts_at_the_one_before_and_is_held_close_to_it(done: Lab) -> None:
    first, second = manifest(done, "moving_1"), manifest(done, "moving_2")
    assert first.start is None
    assert first.reference_checkpoint is None
    assert second.start is not None
    assert second.reference_checkpoint is not None
    assert second.start.version == second.reference_checkpoint.version == first.version
    assert first.version != second.version


def test_the_reference_may_stay_where_it_was(done: Lab) -> None:
    second = manifest(done, "fixed_2")
    assert second.start is not None
    assert second.start.version == manifest(done, "fixed_1").version
    assert second.reference_checkpoint is None


def test_every_stage_of_a_moving_reference_begins_at_log_2(done: Lab) -> None:
    for name in ("moving_1", "moving_2", "fixed_1"):
        assert losses(done, name)[0] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(losses(done, "fixed_2")[0] - math.log(2)) > 1e-3


def test_every_stage_trains_on_its_own_pairs(done: Lab) -> None:
    decisions = done.read("subsets", "curry").filter("selected")
    for stage in (1, 2):
        listed = (folder(done, f"moving_{stage}") / PAIR_IDS).read_text().split()
        assert listed == sorted(decisions.filter(stage=stage)["pair_id"])
        assert len(listed) > 4


def test_a_reference_is_computed_for_the_pairs_of_its_stage_alone(done: Lab) -> None:
    pairs = done.read("pairs", "pairs").join(
        done.read("subsets", "curry").filter(stage=2).filter("selected"), "pair_id"
    )
    wanted = {*pairs["chosen_id"], *pairs["rejected_id"]}
    assert set(done.read("reference_logps", "moving_2_start")["completion_id"]) == wanted


def test_the_same_stage_twice_is_one_version(done: Lab) -> None:
    assert manifest(done, "moving_1").version == manifest(done, "fixed_1").version


def test_a_stage_without_pairs_says_which_there_are(done: Lab) -> None:
    more = {**done.attributes, "checkpoints": {"third": {**POLICY, "type": "policy", "stage": 3}}}
    report = Lab(done.root, more, instance=done.instance).run('key:"stages/checkpoints/third"')
    assert not report.ok
    said = " ".join(map(str, report.failures))
    assert "subset 'curry' has no pairs of stage 3; its stages are 1: " in said


def test_no_stage_of_a_curriculum_trains_where_a_later_one_has_no_pairs(done: Lab) -> None:
    longer = {"longer": {**done.attributes["curricula"]["fixed"], "stages": 3}}
    lab = Lab(done.root, {**done.attributes, "curricula": longer}, instance=done.instance)
    report = lab.run('key:"stages/checkpoints/longer_1"')
    said = " ".join(map(str, report.failures))
    assert "checkpoint 'longer_1': subset 'curry' has no pairs of stage 3; its stages are 1: " in said


def test_errors_are_found_before_anything_runs(tmp_path: Path, llama: Path) -> None:
    good = attributes(tmp_path, llama)
    cases = {
        "curricula.moving: policy.stage: the curriculum sets the stage": {
            "curricula": {"moving": {"stages": 2, "policy": {**POLICY, "stage": 1}}}
        },
        "no subsets named 'currry'": {"curricula": {"moving": {"stages": 2, "policy": {**POLICY, "subset": "currry"}}}},
        "no checkpoints named 'moving_3'; known: fixed_1, fixed_2, moving_1, moving_2": {
            "evaluations": {"rank": {"type": "ranking_accuracy", "checkpoints": ["moving_3"]}}
        },
        "curricula.moving: it makes an entry checkpoints.moving_1, which is taken": {
            "checkpoints": {"moving_1": {"type": "policy", "subset": "curry", "base": "llama"}}
        },
    }
    for message, changes in cases.items():
        with pytest.raises(SpecError) as caught:
            parse_spec({**good, **changes})
        assert message in str(caught.value)
    parsed = parse_spec({**good, "evaluations": {"rank": {"type": "ranking_accuracy", "checkpoints": ["moving_2"]}}})
    assert parse_spec(good | {"name": "again"}).checkpoints == parsed.checkpoints
