"""The only place that builds metadata, so that every event stays small, readable and free of secrets."""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pref_assets.credentials import without_credentials
from pref_assets.pairs.schema import Table
from pref_assets.pairs.thumbnails import thumbnail

PREVIEW_ROWS = 5
CELL_CHARACTERS = 200
MAX_SERIES = 12
MAX_BYTES = 12_000
"""Bytes of metadata in one event; the rest of an event (keys, versions of inputs) stays well below 4,000."""
MAX_TEXT = 6_000
MAX_COUNTS = 20
THUMBNAIL_SIDES = (64, 48, 32, 24)
"""Pixels of the longer side of an image in a preview, tried in this order until all fit."""
THUMBNAIL_QUALITY = 55
THUMBNAIL_BYTES = 3_500
"""Bytes of all images of an event together, with their captions."""
ROW_IMAGES = 3
"""Images shown of a row."""
_ELLIPSIS = " …"
_MARKS = re.compile(r"[\\`*_{}\[\]()<>#+!|~$&-]")
"""What Markdown could read as a mark."""

Metadata = dict[str, Any]


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns as Dagster shows them, known before the first run."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                str(column.dtype() if isinstance(column.dtype, type) else column.dtype),
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    unique=table.key == (name,), nullable=name not in table.key or column.may_be_null
                ),
            )
            for name, column in table.columns.items()
        ]
    )


def row_count(rows: int, *, partition: bool = False) -> Metadata:
    """The row count under the name that the UI plots."""
    return {"dagster/partition_row_count" if partition else "dagster/row_count": rows}


def preview(frame: pl.DataFrame, columns: Sequence[str] | None = None) -> dg.TableMetadataValue:
    """The first rows with every cell shortened; nested cells as JSON."""
    head = frame.select(columns or frame.columns).head(PREVIEW_ROWS)
    records = [
        dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in head.iter_rows(named=True)
    ]
    schema = dg.TableSchema(columns=[dg.TableColumn(name, str(dtype)) for name, dtype in head.schema.items()])
    return dg.MetadataValue.table(records, schema)


def series(values: Mapping[str, Any]) -> Metadata:
    """Numbers for the Plots tab: stable names, always floats, ``None`` left out.

    Raises:
        ValueError: more than ``MAX_SERIES``, of which the UI would not show all.
    """
    found = {name: float(value) for name, value in values.items() if value is not None and np.isfinite(value)}
    if len(found) > MAX_SERIES:
        raise ValueError(f"{len(found)} numeric series, but at most {MAX_SERIES} are shown: {sorted(found)}")
    return dict(found)


def counts(frame: pl.DataFrame | pl.LazyFrame, column: str) -> dg.MarkdownMetadataValue:
    """How many rows have each value of ``column``, most frequent first, as a Markdown table."""
    found = frame.lazy().group_by(column).len().sort(["len", column], descending=[True, False]).collect()
    lines = [f"| {column} | rows |", "|---|---|"]
    lines += [f"| {_cell(value)} | {count} |" for value, count in found.head(MAX_COUNTS).iter_rows()]
    if found.height > MAX_COUNTS:
        lines.append(f"| {found.height - MAX_COUNTS} more | {found['len'][MAX_COUNTS:].sum()} |")
    return dg.MetadataValue.md("\n".join(lines) if found.height else "none")


def flag_counts(flags: pl.DataFrame, rules: Mapping[str, tuple[str, str]]) -> dg.MarkdownMetadataValue:
    """Every rule, given as code to severity and action, with how many pairs it flags, as a Markdown table."""
    found = dict(flags.group_by("code").len().iter_rows())
    lines = ["| code | severity | pairs | action |", "|---|---|---|---|"]
    for code, (severity, action) in sorted(rules.items(), key=lambda each: (-found.get(each[0], 0), each[0])):
        lines.append(f"| {code} | {severity} | {found.get(code, 0)} | {action} |")
    return dg.MetadataValue.md("\n".join(lines))


def histogram(values: NDArray[np.floating[Any]], title: str, bins: int = 40) -> dg.MarkdownMetadataValue:
    """A small picture of a distribution, for the asset's page."""
    from matplotlib.figure import Figure

    finite = values[np.isfinite(values)]
    figure = Figure(figsize=(4.2, 2.0), dpi=72, layout="constrained")
    axes = figure.subplots()
    axes.hist(finite, bins=bins, color="#4f43dd")
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return picture(buffer.getvalue(), title)


def picture(png: bytes, title: str, colours: int = 16) -> dg.MarkdownMetadataValue:
    """A PNG inside Markdown, reduced to few colours so that it fits an event."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(colours).save(buffer, format="PNG", optimize=True)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")


def pictures(rows: Sequence[tuple[str, Sequence[bytes | None]]]) -> dg.MarkdownMetadataValue:
    """Rows of small images, each row with a caption; an image that is null is not stored here, which the row says.

    All together take at most ``THUMBNAIL_BYTES``: where they are more, they are made smaller, and in the end the last
    rows have their captions alone.
    """
    first = [(caption, list(images)) for caption, images in rows[:PREVIEW_ROWS]]
    lines: list[str] = []
    for side in THUMBNAIL_SIDES:
        lines = [_pictured(caption, images, side) for caption, images in first]
        if sum(map(len, lines)) <= THUMBNAIL_BYTES:
            break
    while sum(map(len, lines)) > THUMBNAIL_BYTES and any("data:" in line for line in lines):
        last = max(place for place, line in enumerate(lines) if "data:" in line)
        lines[last] = _pictured(first[last][0], [], 0)
    return dg.MetadataValue.md("\n\n".join(lines))


def _pictured(caption: str, images: Sequence[bytes | None], side: int) -> str:
    small = [thumbnail(image, side, THUMBNAIL_QUALITY) for image in images[:ROW_IMAGES] if image is not None]
    parts = [f"![]({each})" for each in small]
    if (more := len(images) - len(small)) > 0:
        parts.append(f"(and {more} more)" if small else f"({more} not stored here)")
    text = _cut(" ".join(_clean(caption).split()), CELL_CHARACTERS)
    return " ".join([*parts, _MARKS.sub(r"\\\g<0>", text)])


def bounded(metadata: Metadata) -> Metadata:
    """Metadata that fits an event: credentials removed, texts and previews cut until all is small enough.

    Raises:
        ValueError: too many numeric series, or too large even with every preview and text cut.
    """
    series({name: value for name, value in metadata.items() if _is_number(value) and not name.startswith("dagster/")})
    for keep_rows, characters in ((PREVIEW_ROWS, MAX_TEXT), (3, 2_000), (1, 1_000), (0, 300)):
        small = {name: _small(value, keep_rows, characters) for name, value in metadata.items()}
        if size(small) <= MAX_BYTES:
            return small
    raise ValueError(f"metadata of {size(small)} bytes, at most {MAX_BYTES} fit: {sorted(metadata)}")


def size(metadata: Metadata) -> int:
    """Bytes of the metadata as JSON, near to what the event log stores."""
    values = {name: dg.MetadataValue.int(v) if isinstance(v, bool) else v for name, v in metadata.items()}
    return sum(len(name) + len(_serialized(value)) for name, value in values.items())


def _serialized(value: Any) -> str:
    if isinstance(value, dg.TableMetadataValue):
        columns = [[column.name, column.type, "x" * 120] for column in value.schema.columns]
        return json.dumps([[dict(record.data) for record in value.records], columns], ensure_ascii=False)
    if isinstance(value, dg.MetadataValue):
        return json.dumps(value.value, default=str)
    return json.dumps(value, default=str)


def _small(value: Any, keep_rows: int, characters: int) -> Any:
    if isinstance(value, dg.TableMetadataValue):
        records = [
            dg.TableRecord({name: _clean(cell) for name, cell in record.data.items()})
            for record in value.records[:keep_rows]
        ]
        return dg.MetadataValue.table(records, value.schema)
    if isinstance(value, dg.MarkdownMetadataValue):
        text = value.md_str or ""
        if "data:image" in text:
            return value
        return dg.MetadataValue.md(_clean(_cut(text, characters)))
    if isinstance(value, dg.UrlMetadataValue):
        return dg.MetadataValue.url(_clean(value.url or ""))
    if isinstance(value, dg.PathMetadataValue):
        return dg.MetadataValue.path(_clean(str(value.fspath)))
    if isinstance(value, str):
        return _clean(_cut(value, characters))
    return value


def _clean(value: Any) -> Any:
    return without_credentials(value) if isinstance(value, str) else value


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - len(_ELLIPSIS)] + _ELLIPSIS


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _cut(text.replace("\n", " "), CELL_CHARACTERS)
