"""A joined file is part of what makes records out of date, though no batch holds it."""

from pathlib import Path

from pref_assets_tests.pipeline.conftest import Lab, write_rows

TEXTS = [{"id": "left", "text": "one"}, {"id": "right", "text": "two"}]


def lab(root: Path) -> Lab:
    source = {
        "type": "columns",
        "location": str(root / "data"),
        "joins": {"texts": {"location": str(root / "texts.jsonl"), "key": "id"}},
        "prompt": "question",
        "answers": [{"text": "texts['left'].text"}, {"text": "texts['right'].text"}],
        "votes": [{"choice": "winner"}],
    }
    return Lab(root, {"name": "joined", "sources": {"rows": source}})


def test_a_changed_joined_file_makes_the_records_anew_and_not_the_raw_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "rows.jsonl", [{"question": "Hi", "winner": "a"}])
    write_rows(tmp_path / "texts.jsonl", TEXTS)
    deployed = lab(tmp_path)
    first = deployed.run()
    assert first.ok, first.failures
    assert deployed.read("pairs", "pairs").height == 1
    assert deployed.run().materialized == []

    write_rows(tmp_path / "texts.jsonl", [{"id": "left", "text": "another one"}, TEXTS[1]])
    report = deployed.run()
    assert report.ok, report.failures
    assert any(name.startswith("joined/records/rows_completions") for name in report.materialized)
    assert not any(name.startswith("joined/raw/") for name in report.materialized)
    texts = deployed.read("records", "rows_completions")["messages"].to_list()
    assert sorted(turns[0]["content"] for turns in texts) == ["another one", "two"]
