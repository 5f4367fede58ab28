"""A training job's frame: held-out prompts, the room it needs, and what it says of the run."""

from pathlib import Path

import polars as pl
import pytest

from pref_assets.training import capacity, run, worker
from pref_assets.training.checkpoint import checkpoint_version, pair_ids, read_manifest
from pref_assets.training.errors import DiskSpaceError, DivergedError, OutOfMemoryError
from pref_assets.training.policy import PolicyCheckpoint
from pref_assets.training.reference import ReferenceLogps
from pref_assets_tests.training.conftest import SETTINGS, Recorder, make_job, make_rows


def test_early_stopping_holds_prompts_out_and_says_so(
    tmp_path: Path, rows: pl.DataFrame, reference: ReferenceLogps, logps: pl.DataFrame
) -> None:
    stop = {"every": 1, "patience": 1, "heldout": 0.3, "min_delta": 10}
    report = Recorder()
    result = worker.run(make_job(tmp_path, rows, reference, logps, early_stop=stop, epochs=5), report)
    # Two of six prompts are held out; the first measurement is the best, the second ends it.
    assert (result["heldout_pairs"], result["steps"], result["best_step"]) == (2, 2, 1)
    assert result["heldout_loss"] == pytest.approx(report.steps[0][1]["heldout/loss"])
    assert report.done[-1] == (2, 10, "steps")
    assert report.logs == ["stopped after step 2 of 10: no lower held-out loss since 1"]
    manifest = read_manifest(result["folder"])
    assert manifest.run["heldout_pairs"] == 2
    # The held-out pairs chose the weights, so they are behind the checkpoint too.
    assert len(pair_ids(result["folder"])) == 6


def test_settings_that_change_no_weight_change_no_version() -> None:
    def version(**settings: object) -> str:
        return checkpoint_version(PolicyCheckpoint.model_validate({**SETTINGS, **settings}), make_rows(), "b", "r")

    assert version() == version(max_loss=3.0) == version(save_every=9) == version(early_stop=None)
    assert version() != version(early_stop={})


def test_a_loss_above_the_limit_publishes_nothing(
    tmp_path: Path, rows: pl.DataFrame, reference: ReferenceLogps, logps: pl.DataFrame
) -> None:
    with pytest.raises(DivergedError, match=r"above max_loss 0\.5"):
        worker.run(make_job(tmp_path, rows, reference, logps, max_loss=0.5), Recorder())
    assert not (tmp_path / "checkpoints").exists()


def test_too_little_disk_is_said_before_the_first_step(
    tmp_path: Path, rows: pl.DataFrame, reference: ReferenceLogps, logps: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "SMALL_FILES_BYTES", 2**60)
    report = Recorder()
    with pytest.raises(DiskSpaceError, match="MiB are free, but training needs about"):
        worker.run(make_job(tmp_path, rows, reference, logps), report)
    assert report.steps == []


def test_too_little_memory_is_said_before_the_model_is_loaded(
    tmp_path: Path, rows: pl.DataFrame, reference: ReferenceLogps, logps: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "free_memory", lambda device: 1000)
    with pytest.raises(OutOfMemoryError, match="the base model has"):
        worker.run(make_job(tmp_path, rows, reference, logps), Recorder())


def test_machines_are_counted_and_the_largest_memory_is_kept() -> None:
    found = [
        {"peak_rss_mib": 5.0, "device": "cpu", "threads": 1, "host": "a"},
        {"peak_rss_mib": 7.0, "device": "cpu", "threads": 1, "host": "a"},
    ]
    assert run._machine(found) == {
        "peak_rss_mib": 7.0, "device": "cpu", "threads": 1, "host": "a", "world_size": 2, "hosts": 1
    }  # fmt: skip
