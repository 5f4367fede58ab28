"""Metadata stays small, plain and free of secrets, whatever goes in."""

import base64
import io
import re

import dagster as dg
import numpy as np
import polars as pl
import pytest
from PIL import Image

from pref_assets.pairs.schema import PAIRS, QUARANTINE
from pref_assets.pipeline import metadata
from pref_assets.pipeline.metadata import (
    MAX_BYTES,
    bounded,
    column_schema,
    counts,
    histogram,
    pictures,
    preview,
    series,
    size,
)


def test_previews_have_five_rows_and_short_cells() -> None:
    frame = pl.DataFrame({"text": ["x" * 5000] * 9, "turns": [[{"role": "user", "content": "hello\nthere"}]] * 9})
    value = preview(frame)
    assert len(value.records) == 5
    first = value.records[0].data
    assert len(str(first["text"])) == 200
    assert str(first["text"]).endswith(" …")
    assert first["turns"] == '[{"role": "user", "content": "hello\\nthere"}]'


def test_cells_are_plain_values() -> None:
    frame = pl.DataFrame({"a": [1], "b": [0.12345678], "c": [None], "d": [True], "e": [float("inf")]})
    assert preview(frame).records[0].data == {"a": 1, "b": 0.123457, "c": None, "d": True, "e": "inf"}


def test_metadata_is_cut_until_it_fits() -> None:
    wide = pl.DataFrame({f"column_{n}": ["word " * 100] * 5 for n in range(20)})
    large = {"preview": preview(wide), "report": dg.MetadataValue.md("line\n" * 5000), "note": "y" * 50_000, "rows": 3}
    assert size(large) > 3 * MAX_BYTES
    small = bounded(large)
    assert size(small) <= MAX_BYTES
    assert small["rows"] == 3
    assert len(small["note"]) <= 6000
    assert small["note"].endswith(" …")


def test_what_cannot_be_cut_is_an_error() -> None:
    picture = dg.MetadataValue.md(f"![plot](data:image/png;base64,{'A' * MAX_BYTES})")
    with pytest.raises(ValueError, match=f"at most {MAX_BYTES} fit: \\['plot'\\]"):
        bounded({"plot": picture})


def test_no_more_series_than_the_ui_plots() -> None:
    with pytest.raises(ValueError, match="13 numeric series, but at most 12"):
        bounded(series({f"n{n}": n for n in range(6)}) | {f"m{n}": float(n) for n in range(7)})


def test_series_are_finite_floats() -> None:
    found = series({"a": 1, "b": None, "c": np.float64(2), "d": float("nan"), "e": True})
    assert found == {"a": 1.0, "c": 2.0, "e": 1.0}
    assert all(type(value) is float for value in found.values())


def test_passwords_in_addresses_are_removed() -> None:
    secret = "postgresql://user:geheim@host/db"
    frame = pl.DataFrame({"uri": [f"see {secret}"]})
    found = bounded(
        {
            "text": secret,
            "markdown": dg.MetadataValue.md(secret),
            "url": dg.MetadataValue.url("https://token@host/page"),
            "path": dg.MetadataValue.path(secret),
            "preview": preview(frame),
        }
    )
    assert "geheim" not in str(found)
    assert "token@" not in str(found)
    assert found["text"] == "postgresql://***@host/db"


def test_counts_name_the_most_frequent_first_and_sum_the_rest() -> None:
    frame = pl.DataFrame({"code": ["a"] * 3 + ["b"] + [f"rare_{n:02}" for n in range(25)]})
    lines = (counts(frame, "code").md_str or "").splitlines()
    assert lines[2] == "| a | 3 |"
    assert lines[-1] == "| 7 more | 7 |"
    assert counts(frame.clear(), "code").md_str == "none"


def test_pictures_fit_an_event() -> None:
    value = histogram(np.random.default_rng(0).normal(size=1000), "scores")
    text = value.md_str or ""
    assert text.startswith("![scores](data:image/png;base64,iVBOR")
    assert len(text) < 8000
    assert bounded({"plot": value})["plot"] == value


def test_the_schema_of_a_table_is_known_before_it_is_written() -> None:
    schema = column_schema(PAIRS)
    by_name = {column.name: column for column in schema.columns}
    assert list(by_name) == list(PAIRS.columns)
    assert by_name["pair_id"].constraints.unique
    assert by_name["p_chosen"].type == "Float64"
    assert "a tie" in (by_name["p_chosen"].description or "")
    assert not column_schema(QUARANTINE).columns[0].constraints.unique


def test_limits_are_those_of_the_ui() -> None:
    assert (metadata.PREVIEW_ROWS, metadata.CELL_CHARACTERS, metadata.MAX_SERIES) == (5, 200, 12)


def noise(seed: int, width: int = 300, height: int = 200) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("side", [16, 32, 64, 400])
def test_pictures_fit_however_many_and_however_noisy(side: int) -> None:
    rows = [
        (f"Row {row} says much. " * 30, [noise(row * 10 + each, side, side) for each in range(5)]) for row in range(9)
    ]
    shown = pictures(rows).md_str or ""
    assert len(shown) <= metadata.THUMBNAIL_BYTES + 4 * 2
    assert [f"Row {row} says" in shown for row in range(9)] == [True] * 5 + [False] * 4
    assert "and 2 more" in shown.replace("\\", "")
    together = {"pictures": pictures(rows), "distribution": histogram(np.arange(500.0), "scores")}
    wide = pl.DataFrame({f"column_{n}": ["word " * 100] * 5 for n in range(8)})
    small = bounded({**together, "one": preview(wide), "other": preview(wide), "counts": "y" * 9_000})
    assert size(small) <= MAX_BYTES
    assert small["pictures"].md_str == shown


def test_a_few_small_pictures_are_shown_whole() -> None:
    plain = io.BytesIO()
    Image.new("RGB", (400, 100), "red").save(plain, "PNG")
    shown = pictures([("one", [plain.getvalue()]), ("two", [plain.getvalue(), None])]).md_str or ""
    found = re.findall(r"!\[\]\(data:image/webp;base64,([^)]+)\)", shown)
    assert len(found) == 2
    with Image.open(io.BytesIO(base64.b64decode(found[0]))) as image:
        assert image.size == (64, 16)
    assert shown.endswith("(and 1 more) two")


def test_captions_are_no_markdown_and_hold_no_secret() -> None:
    said = "![x](https://evil.example/a.png) <img src=x> [a](b) `c` s3://key:s3cretword@bucket/a"
    shown = pictures([(said, [])]).md_str or ""
    assert "![x](" not in shown
    assert "\\!\\[x\\]\\(https" in shown
    assert "\\<img" in shown
    assert "s3cretword" not in shown
    assert pictures([("there", [None])]).md_str == "(1 not stored here) there"
