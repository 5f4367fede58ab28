"""The leaderboard as a picture small enough to travel in metadata."""

import io
from typing import Any, get_args

import polars as pl

from pref_assets.evaluation.leaderboard import order
from pref_assets.training.checkpoint import Kind

PANELS = 4
"""Metrics drawn."""
DPI = 72
COLOURS = 12
"""Palette size: with so few a picture takes some five kilobytes."""
KINDS = {**dict.fromkeys(get_args(Kind), "#1f6fb4"), "score": "#6b4fa0", "baseline": "#9a9a9a"}


def plot(board: pl.DataFrame) -> bytes:
    """PNG of the first metric of up to four evaluations: a point with its interval for each row, baselines grey.

    Raises:
        ValueError: the board is empty.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    ordered = board.sort("evaluation", *order())
    first = ordered.group_by("evaluation", maintain_order=True).agg(pl.col("metric").first()).head(PANELS).rows()
    if not first:
        raise ValueError("the leaderboard is empty: no evaluation was materialized")
    parts = [board.filter((pl.col("evaluation") == e) & (pl.col("metric") == m)) for e, m in first]
    heights = [max(part.height, 2) for part in parts]
    # Smoothed letters would take half the bytes, and most of the palette.
    with rc_context({"text.antialiased": False}):
        figure = Figure(figsize=(6.2, 0.24 * sum(heights) + 0.7 * len(parts)), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axis, part, (evaluation, metric) in zip(axes, parts, first, strict=True):
            _panel(axis, part, f"{evaluation}: {metric}")
        buffer = io.BytesIO()
        canvas.print_png(buffer)
    small = io.BytesIO()
    picture = Image.open(buffer).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(small, "PNG", optimize=True)
    return small.getvalue()


def _panel(axis: Any, part: pl.DataFrame, title: str) -> None:
    rows = part.sort(pl.col("kind") != "baseline", "value", "name").to_dicts()
    for place, row in enumerate(rows):
        colour = KINDS[row["kind"]]
        if row["lo"] is not None:
            axis.plot([row["lo"], row["hi"]], [place, place], color=colour, linewidth=1.5)
        axis.plot([row["value"]], [place], "o", color=colour, markersize=4)
    axis.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_title(title, fontsize=9, loc="left")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
