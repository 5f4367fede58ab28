"""Rows of every format read into records and written back: the same row, and for any row the same record."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pref_assets.pairs.readers import Records, Source, SourceConfig
from pref_assets.pairs.readers.around import AroundSource
from pref_assets.pairs.readers.back import records
from pref_assets.pairs.readers.base import NoWayBackError
from pref_assets.pairs.readers.record import Answer, Rating, Record, Vote
from pref_assets_tests.pairs.build import read
from pref_assets_tests.pairs.readers.random_rows import FORMATS, WHERE

UNION, _ = get_args(SourceConfig)
EXAMPLES = [(each, row) for each in get_args(UNION) for row in each.example]
ALONE = [(each, row) for each, row in EXAMPLES if not issubclass(each, AroundSource)]
"""Those that a row is enough for: what is around another source needs images, and other rows."""


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_row_is_written_back_as_it_was(name: str, data: st.DataObject) -> None:
    source, rows = FORMATS[name]
    row = data.draw(rows)
    kept = json.dumps(row)
    assert source.row(source.record(row)) == row
    assert json.dumps(row) == kept, "reading changed the row"
    assert [source.row(record) for record in _stored(source, row)] == [row]


def _stored(source: Source, row: dict[str, Any]) -> list[Record]:
    """The records of a row after they were in the tables."""
    read_again = read([row], source)
    assert read_again.quarantine.height == 0
    return [record for _, _, record in records(read_again.prompts, read_again.completions, read_again.votes)]


@pytest.mark.parametrize(
    ("each", "row"), EXAMPLES, ids=[f"{each.__name__} {i}" for i, (each, _) in enumerate(EXAMPLES)]
)
def test_examples_are_written_back(each: type[Source], row: dict[str, Any]) -> None:
    source = each(location=WHERE, **each.example_settings)
    if each.row is Source.row:
        with pytest.raises(NoWayBackError, match="only read"):
            source.row(source.record(row))
        return
    [record] = _stored(source, row)
    written = source.row(record)
    assert _content(read([written], source)) == _content(read([row], source))


def _content(read_once: Records) -> list[list[tuple[Any, ...]]]:
    """What the tables hold; the order of an answer's ratings means nothing."""
    rated = read_once.completions.select("completion_id", "ratings").explode("ratings").unnest("ratings")
    tables = read_once.prompts, read_once.completions.drop("ratings"), read_once.votes
    return [*(table.rows() for table in tables), sorted(rated.rows(), key=repr)]


@pytest.mark.parametrize(("each", "row"), ALONE, ids=[f"{each.__name__} {i}" for i, (each, _) in enumerate(ALONE)])
def test_examples_are_read_without_a_word_of_complaint(each: type[Source], row: dict[str, Any]) -> None:
    read_once = read([row], each(location=WHERE, **each.example_settings))
    assert read_once.quarantine.height == 0
    assert read_once.completions.height > 0


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"completions"}))
def test_a_record_that_a_format_cannot_hold_is_not_written(name: str) -> None:
    source, _ = FORMATS[name]
    strange = Record(
        turns=[("user", "Hi")],
        answers=[Answer([("assistant", "a")]), Answer([("assistant", "b")], ratings=[Rating("charm", 2.5, "me")])],
        votes=[Vote(0, 1, "a", "me", "wit", strength=0.25, rationale="why not")],
        images=["a.png", "b.png"],
        context="at night",
    )
    with pytest.raises(NoWayBackError):
        source.row(strange)
