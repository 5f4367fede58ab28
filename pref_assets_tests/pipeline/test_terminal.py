"""What a person at a terminal sees of a run."""

import pytest

from pref_assets.pipeline import run as running
from pref_assets.pipeline.terminal import print_status, run_in_terminal
from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows


@pytest.fixture
def terminal(light: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    folder = light.home.dagster
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setattr(running, "project_definitions", light.definitions)
    monkeypatch.setattr("pref_assets.pipeline.terminal.project_definitions", light.definitions)
    return light


def test_every_asset_has_a_line_as_it_is_done(terminal: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_in_terminal(terminal.home, "light", None) == 0
    told = capfd.readouterr().out
    assert "light/pairs/pairs " in told
    assert "light/subsets/random_8 " in told
    assert "72 rows" in told
    assert "new batch" in told
    assert not list(terminal.home.dagster.glob("storage/*/compute_logs/*"))
    assert run_in_terminal(terminal.home, "light", None) == 0
    assert "everything is fresh" in capfd.readouterr().out


def test_a_failure_is_told_and_is_the_exit_code(terminal: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    write_rows(terminal.data / "second.jsonl", [*rows(1, start=24), "{", "{"])
    assert run_in_terminal(terminal.home, "light", None) == 1
    told = capfd.readouterr()
    assert "few_rows_of_a_batch_are_bad: 1 of 2 are bad. At most 20% of the rows of any batch" in told.err
    assert "Fix the cause and run again" in told.err


def test_the_status_names_what_is_missing(terminal: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    print_status(terminal.home, "light")
    assert "missing  light/pairs/pairs" in capfd.readouterr().out
