"""The bias sheet as pictures: shares with their intervals, before curation and after it."""

import io
from collections.abc import Sequence
from typing import Any

import polars as pl

PICTURES: dict[str, tuple[str, ...]] = {
    "length": (
        "longer_preferred",
        "longer_preferred_by_gap",
        "longer_preferred_by_agreement",
        "longer_preferred_by_source",
        "longer_preferred_by_dimension",
    ),
    "form": ("trait_preferred",),
    "origin": ("model_preferred", "source_preferred", "first_preferred"),
    "agreement": ("alpha", "unanimous"),
    "losses": ("dropped", "quarantined"),
}
"""Name of each picture and the metrics it shows, one panel each."""
OVERVIEW = ("longer_preferred", "longer_preferred_by_gap", "trait_preferred")
"""Metrics of the small picture."""
TITLES = {
    "longer_preferred": "Longer answer is chosen, by unit of length",
    "longer_preferred_by_gap": "Longer answer is chosen, by how many times as many words it has",
    "longer_preferred_by_agreement": "Longer answer is chosen, by how far the votes agree",
    "longer_preferred_by_source": "Longer answer is chosen, by source",
    "longer_preferred_by_dimension": "Votes for the longer answer, by dimension",
    "trait_preferred": "Answer with the trait is chosen over one without it",
    "model_preferred": "Answer of the model is chosen over one of another model",
    "source_preferred": "Answer of the source is chosen over one of another source",
    "first_preferred": "Answer that stands first is chosen, by source",
    "alpha": "Krippendorff's alpha, by source and dimension",
    "unanimous": "Pairs on which all votes agree, by source and dimension",
    "dropped": "Comparisons taken out, by reason",
    "quarantined": "Rows in quarantine, by source and reason",
}
ROWS = 24
"""Groups of a panel, those with most items."""
DPI, SMALL_DPI, SMALL_COLOURS, SMALL_ROWS = 110, 76, 8, 10
BEFORE, AFTER = "#8c8c8c", "#4f43dd"
_NAME = 34
_INCH = 0.27
_BY_NAME = ("longer_preferred_by_gap", "longer_preferred_by_agreement", "longer_preferred")


def pictures(bias: pl.DataFrame) -> dict[str, bytes]:
    """PNG of each of ``PICTURES`` that has something to show, in full size.

    Args:
        bias: rows of ``BIAS``.
    """
    drawn = {name: _drawn(bias, metrics, ROWS, DPI) for name, metrics in PICTURES.items()}
    return {name: png for name, png in drawn.items() if png is not None}


def overview(bias: pl.DataFrame) -> bytes | None:
    """PNG small enough to travel in metadata; ``None`` where there is nothing to show."""
    from matplotlib import rc_context
    from PIL import Image

    # Smoothed letters would take half the bytes, and most of the palette.
    with rc_context({"text.antialiased": False}):
        png = _drawn(bias, OVERVIEW, SMALL_ROWS, SMALL_DPI)
    if png is None:
        return None
    small = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(SMALL_COLOURS, dither=Image.Dither.NONE)
    picture.save(small, "PNG", optimize=True)
    return small.getvalue()


def _drawn(bias: pl.DataFrame, metrics: Sequence[str], most: int, dpi: int) -> bytes | None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [(metric, _rows(bias, metric, most)) for metric in metrics]
    # One group alone is the whole, which has a panel of its own.
    panels = [(metric, rows) for metric, rows in panels if len(rows) > metric.startswith("longer_preferred_by")]
    if not panels:
        return None
    heights = [len(rows) + 1.6 for _, rows in panels]
    figure = Figure(figsize=(7.2, _INCH * sum(heights) + 0.35), dpi=dpi, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (metric, rows) in zip(axes, panels, strict=True):
        _panel(axis, metric, rows)
    if any("pairs" in row for _, rows in panels for row in rows):
        _legend(figure)
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _rows(bias: pl.DataFrame, metric: str, most: int) -> list[dict[str, Any]]:
    """One row a group: group, and a row of ``BIAS`` each under ``comparisons`` and ``pairs`` where there is one."""
    found: dict[str, dict[str, Any]] = {}
    for row in bias.filter(metric=metric).sort("group", "data").to_dicts():
        found.setdefault(row["group"], {"group": row["group"]})[row["data"]] = row
    largest = sorted(found.values(), key=lambda row: -_first(row)["n"])[:most]
    if metric in _BY_NAME:
        return sorted(largest, key=lambda row: str(row["group"]), reverse=True)
    return sorted(largest, key=lambda row: (_first(row)["value"], str(row["group"])))


def _first(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = row.get("comparisons") or row["pairs"]
    return found


def _panel(axis: Any, metric: str, rows: list[dict[str, Any]]) -> None:
    for place, row in enumerate(rows):
        both = "comparisons" in row and "pairs" in row
        for data, colour, shift in (("comparisons", BEFORE, 0.14), ("pairs", AFTER, -0.14)):
            if data in row:
                _point(axis, row[data], place + (shift if both else 0), colour)
        axis.annotate(
            f"{_first(row)['n']:,}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            fontsize=7,
            va="center",
            color="#555555",
        )
    axis.set_yticks(range(len(rows)), [_short(row["group"]) for row in rows], fontsize=8)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(TITLES[metric], fontsize=9, loc="left")
    if "preferred" in metric:
        axis.axvline(0.5, color="#bbbbbb", linewidth=0.8, zorder=0)
        axis.set_xlim(-0.02, 1.02)
    elif metric == "unanimous":
        axis.set_xlim(-0.02, 1.02)
    elif metric == "alpha":
        axis.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    else:
        axis.set_xlim(left=0)
        axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _point(axis: Any, row: dict[str, Any], place: float, colour: str) -> None:
    if row["lo"] is not None:
        axis.plot([row["lo"], row["hi"]], [place, place], color=colour, linewidth=1.4)
    axis.plot([row["value"]], [place], "o", color=colour, markersize=4)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=colour, marker="o", markersize=4, linewidth=1.4, label=label)
        for colour, label in ((BEFORE, "all comparisons (n at the right)"), (AFTER, "pairs after curation"))
    ]
    figure.legend(handles=marks, loc="outside lower right", ncols=2, fontsize=7, frameon=False)


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
