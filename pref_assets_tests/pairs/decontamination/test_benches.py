import json
from pathlib import Path

import pytest

from pref_assets.pairs.decontamination import Bench, BenchError, Decontamination, bench_texts
from pref_assets.pairs.locations import LocationError


def written(folder: Path, *rows: dict | str, name: str = "bench.jsonl") -> str:
    path = folder / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return str(folder)


def read(location: str, *texts: str) -> list[tuple]:
    return bench_texts(Decontamination(benches={"b": Bench(location=location, texts=texts)})).frame.rows()


def test_texts_are_found_through_objects_and_lists(tmp_path: Path) -> None:
    row = {"q": "first", "turns": [{"content": "second", "n": 1}, {"content": "third"}], "choices": ["x", ["y"], 3]}
    location = written(tmp_path, row, {"q": "fourth"})
    assert read(location, "q", "turns.content", "choices") == [
        ("b", 1, "first"),
        ("b", 1, "second"),
        ("b", 1, "third"),
        ("b", 1, "x"),
        ("b", 1, "y"),
        ("b", 2, "fourth"),
    ]


def test_rows_are_counted_over_files_and_equal_texts_are_one(tmp_path: Path) -> None:
    written(tmp_path, {"q": "one"}, {"q": "two"}, name="a.jsonl")
    assert read(written(tmp_path, {"q": "one"}, {"q": "three"}, name="b.jsonl"), "q") == [
        ("b", 1, "one"),
        ("b", 2, "two"),
        ("b", 4, "three"),
    ]


def test_the_fingerprint_follows_the_texts(tmp_path: Path) -> None:
    def fingerprint(*rows: dict) -> str:
        bench = Bench(location=written(tmp_path, *rows), texts=("q",))
        return bench_texts(Decontamination(benches={"b": bench})).fingerprint

    first = fingerprint({"q": "one", "other": 1})
    assert fingerprint({"q": "one", "other": 2}) == first
    assert fingerprint({"q": "one!"}) != first


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"q": "x"}, {"a": 1, "c": 2}], r"bench 'b': .*bench\.jsonl, row 2: no text at q; its fields are a, c"),
        ([{"q": 5}], r"row 1: no text at q"),
        (["{oops"], r"bench 'b': .*bench\.jsonl, row 1.*\(not_json\)"),
    ],
)
def test_a_row_that_cannot_be_read_is_an_error(tmp_path: Path, rows: list, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        read(written(tmp_path, *rows), "q")


def test_a_bench_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="no such file or folder"):
        read(str(tmp_path / "none"), "q")
    with pytest.raises(BenchError, match="bench 'b': no data files"):
        read(str(tmp_path), "q")
