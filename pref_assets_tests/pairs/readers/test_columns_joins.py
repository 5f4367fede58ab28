"""Joined files: looked up by key, part of what makes records out of date, and strict about their own faults."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pref_assets.pairs.locations import LocationError
from pref_assets.pairs.readers.columns import ColumnsSource
from pref_assets.pairs.reading import UnreadableError
from pref_assets_tests.pairs.build import read, refusals

TEXTS = [{"id": 1, "text": "one"}, {"id": "2", "text": "two"}, {"id": "x", "text": "three"}]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def source(path: Path, **join: Any) -> ColumnsSource:
    return ColumnsSource.model_validate(
        {
            "location": "rows.jsonl",
            "joins": {"texts": {"location": str(path), "key": "id", **join}},
            "prompt": "q",
            "answers": [{"text": "texts[left].text"}, {"text": "texts[right].text"}],
            "votes": [{"choice": "'a'"}],
        }
    )


def said(records: Any) -> list[str]:
    return [turns[0]["content"] for turns in records.completions["messages"].to_list()]


def test_rows_are_looked_up_by_key(tmp_path: Path) -> None:
    settings = source(write(tmp_path / "texts.jsonl", TEXTS))
    rows = [{"q": "Hi", "left": "1", "right": 2}, {"q": "Hi", "left": "x", "right": "y"},
            {"q": "Hi", "left": None, "right": "x"}]  # fmt: skip
    records = read(rows, settings)
    assert said(records) == ["one", "two"]
    assert refusals(records) == [(2, "not_joined"), (3, "wrong_type")]
    assert "has no row with the key 'y'" in records.quarantine["reason"][0]
    assert "a key is a null, expected text or a whole number" in records.quarantine["reason"][1]


def test_many_rows_of_a_key_are_a_list_in_order_of_files_and_rows(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", [{"id": 1, "text": "late"}])
    write(tmp_path / "a.jsonl", [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}])
    settings = source(tmp_path, many=True)
    settings = settings.model_validate(
        {**settings.model_dump(), "answers": [{"each": {"it": "texts[1]"}, "text": "it.text"}]}
    )
    assert said(read([{"q": "Hi"}], settings)) == ["one", "late"]


def test_a_key_twice_is_an_error_unless_there_may_be_many(tmp_path: Path) -> None:
    path = write(tmp_path / "texts.jsonl", [*TEXTS, {"id": "1", "text": "again"}])
    with pytest.raises(UnreadableError, match=r"texts.jsonl, row 4: .* second row with the key '1'; set `many: true`"):
        read([{"q": "Hi", "left": 1, "right": 2}], source(path))


def test_a_joined_file_with_a_broken_row_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"joined table `texts`: .*texts.jsonl, row 4: not JSON"):
        read([{"q": "Hi"}], source(write(tmp_path / "texts.jsonl", [*TEXTS, "{oops"])))
    with pytest.raises(UnreadableError, match=r"row 1: `joins.texts.key: id`: the row has no field `id`"):
        read([{"q": "Hi"}], source(write(tmp_path / "other.jsonl", [{"no": 1}])))
    with pytest.raises(LocationError, match="nowhere"):
        read([{"q": "Hi"}], source(tmp_path / "nowhere.jsonl"))


def test_a_changed_joined_file_changes_the_digest_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    settings = source(path)
    absent = settings.digest()
    write(path, TEXTS)
    before, row = settings.digest(), {"q": "Hi", "left": 1, "right": 2}
    assert said(read([row], settings)) == ["one", "two"]
    write(path, [{"id": 1, "text": "first"}, *TEXTS[1:]])
    after = settings.digest()
    assert said(read([row], settings)) == ["first", "two"]
    assert len({absent, before, after}) == 3
    path.rename(tmp_path / "moved.jsonl")
    write(path, TEXTS)
    assert settings.digest() == before


@pytest.mark.parametrize("location", ["s3://bucket/texts.jsonl", "hf://org/texts"])
def test_only_files_on_this_machine_are_joined(location: str) -> None:
    with pytest.raises(ValidationError, match="download it first"):
        source(Path("x"), location=location)


def test_rows_cannot_be_changed_through_an_expression(tmp_path: Path) -> None:
    settings = source(write(tmp_path / "texts.jsonl", TEXTS))
    tampering = settings.model_validate({**settings.model_dump(), "metadata": {"x": "texts[1].update({'text': 'no'})"}})
    assert read([{"q": "Hi", "left": 1, "right": 2}], tampering).prompts.height == 0
    assert said(read([{"q": "Hi", "left": 1, "right": 2}], settings)) == ["one", "two"]
