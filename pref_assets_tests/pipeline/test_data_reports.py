"""Data card and bias sheet as assets: made in every pipeline, small in events, fresh until the data change."""

import dagster as dg
from click.testing import CliRunner

from pref_assets.cli import main
from pref_assets.lineage.about import card_folder
from pref_assets.pipeline.freshness import statuses
from pref_assets_tests.pipeline.conftest import Lab, rows, write_rows

REPORTS = ("reports/data_card", "reports/bias")


def test_both_are_made_and_said_in_metadata(light: Lab) -> None:
    write_rows(light.data / "first.jsonl", [*rows(24), "{"])
    report = light.run()
    assert report.ok, report.failures
    assert {f"light/{name}" for name in REPORTS} <= set(report.materialized)
    card = light.metadata("reports", "data_card")
    assert card["rows_read"].value == 25
    assert card["rows_in_quarantine"].value == 1
    assert card["pairs"].value == light.read("pairs", "pairs").height
    folder = card_folder(light.home, "light")
    assert {path.name for path in folder.iterdir()} == {"README.md", "croissant.json", "about.json"}
    assert "| made_up | `not_json` | 1 |" in (folder / "README.md").read_text()
    bias = light.read("reports", "bias")
    # Longer answers are better in these data, with some noise.
    words = bias.filter(data="pairs", metric="longer_preferred", group="words").row(0, named=True)
    assert words["lo"] > 0.5
    assert bias.filter(metric="quarantined").select("group", "n").rows() == [("made_up: not_json", 25)]
    assert "data:image/png" in light.metadata("reports", "bias")["overview"].value


def test_they_are_fresh_until_the_data_change(light: Lab) -> None:
    light.run()
    before = light.metadata("reports", "bias")["content_hash"].value
    assert light.run().materialized == []
    write_rows(light.data / "second.jsonl", rows(4, start=24))
    report = light.run()
    assert {f"light/{name}" for name in REPORTS} <= set(report.materialized)
    assert light.metadata("reports", "bias")["content_hash"].value != before


def test_curating_makes_them_and_they_wait_for_no_training(lab: Lab) -> None:
    graph = lab.definitions().resolve_asset_graph()
    for name in ("data_card", "bias"):
        above = dg.AssetSelection.assets(lab.key("reports", name)).upstream().resolve(graph)
        assert {key.path[1] for key in above} == {"raw", "records", "pairs", "reports"}
    made = {
        verb: {
            f"{key.path[1]}/{key.path[2]}"
            for key in lab.definitions().resolve_job_def(verb).asset_layer.selected_asset_keys
        }
        for verb in ("tiny_curate", "tiny_evaluate")
    }
    assert set(REPORTS) <= made["tiny_curate"]
    assert "reports/leaderboard" not in made["tiny_curate"]
    assert made["tiny_evaluate"] & {"reports/leaderboard", *REPORTS} == {"reports/leaderboard"}


def test_the_command_line_writes_the_card(light: Lab, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PREF_ASSETS_HOME", str(light.home.root))
    monkeypatch.delenv("PREF_ASSETS_DEBUG", raising=False)
    early = CliRunner().invoke(main, ["card", "light", "--out", str(tmp_path / "card")])
    assert early.exit_code == 1
    assert "light has no data card" in early.output
    light.run()
    found = CliRunner().invoke(main, ["card", "light", "--out", str(tmp_path / "card")])
    assert found.exit_code == 0, found.output
    written = {path.name for path in (tmp_path / "card").iterdir()}
    assert {"README.md", "croissant.json", "bias.md", "bias_length.png"} <= written
    assert len(found.output.splitlines()) == len(written)
    assert "| subset | random_8 |" in (tmp_path / "card" / "README.md").read_text()
    graph = light.definitions().resolve_asset_graph()
    found_now = statuses(light.instance, graph, graph.materializable_asset_keys)
    assert {each.status for each in found_now} == {"fresh"}
