"""The questions that the command line answers; running pipelines is tested with the graph."""

import json

import pytest
from click.testing import CliRunner, Result

from pref_assets.cli import main


@pytest.fixture
def ask(small, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREF_ASSETS_HOME", str(small.home.root))
    monkeypatch.delenv("PREF_ASSETS_DEBUG", raising=False)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    return invoke


def test_help_lists_every_command_with_examples(ask) -> None:
    result = ask("--help")
    assert result.exit_code == 0
    assert all(
        f"  {name} " in result.output
        for name in ("run", "status", "trace", "rows", "export", "withdraw", "impact", "ui")
    )
    assert "pref-assets run demo" in result.output


def test_a_trace_is_text_or_json(ask) -> None:
    text = ask("trace", "An oak tree")
    assert text.exit_code == 0
    assert "Name a tree." in text.output
    found = json.loads(ask("trace", "An oak tree", "--json", "--pipeline", "p").output)
    assert found["found"] == "completion"


def test_rows_are_json_lines(ask, small) -> None:
    result = ask("rows", "p/rm_few")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.output.splitlines()]
    assert rows
    assert {"pair_id", "prompt", "chosen", "rejected"} <= set(rows[0])


def test_export_says_how_many_and_where(ask, tmp_path) -> None:
    result = ask("export", "p/few", "--out", str(tmp_path / "few.jsonl"))
    assert result.output == f"1 rows written to {tmp_path / 'few.jsonl'}\n"


def test_export_in_another_format(ask, tmp_path) -> None:
    path = tmp_path / "few.jsonl"
    ask("export", "p/few", "--format", "openrlhf", "--set", "prompt_key=q", "--set", "style=text", "--out", str(path))
    assert json.loads(path.read_text()) == {"q": "Name a tree.", "chosen": "An oak tree.", "rejected": "No idea."}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trace", "nothing like this"], "nothing like this"),
        (["rows", "nosuch"], "no checkpoint 'nosuch'"),
        (["export", "p/most"], "no subset 'most'"),
        (["export", "few"], "say PIPELINE/SUBSET"),
        (["export", "p/few", "--format", "nosuch"], "'trl_unpaired'"),
        (["export", "p/few", "--set", "style"], "--set takes NAME=VALUE, not 'style'"),
        (["export", "p/few", "--set", "stile=standard"], "stile"),
        (["trace", "x", "--pipeline", "nosuch"], "pipeline 'nosuch' has no tables"),
    ],
)
def test_a_wrong_question_is_one_message_and_no_traceback(ask, arguments: list[str], says: str) -> None:
    result = ask(*arguments)
    assert result.exit_code in (1, 2)
    assert says in result.output
    assert "Traceback" not in result.output


def test_nothing_run_yet_says_where_to_start(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREF_ASSETS_HOME", str(tmp_path))
    result = CliRunner().invoke(main, ["trace", "x"])
    assert "start with `pref-assets run demo`" in result.output
