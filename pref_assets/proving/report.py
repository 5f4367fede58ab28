"""The proving ground's verdict for people: a table, best first, and a picture."""

import io
from typing import Any

import polars as pl

from pref_assets.proving.results import EVERY, comparisons

COLUMNS = {
    "vs_random": "vs random",
    "accuracy": "accuracy",
    "vs_all": "vs all",
    "vs_oracle": "vs oracle",
    "kept": "kept",
    "wrong_labels": "wrong labels kept",
    "recall_flip": "flips found",
    "precision_flip": "of dropped, flips",
    "recall_duplicate": "copies found",
    "recall_tie": "ties found",
    "topics": "topics",
    "coverage": "coverage",
    "seconds": "seconds",
}
"""Metrics of the table, in order, by heading."""
SIGNED = ("vs_random", "vs_all", "vs_oracle")
SIGNIFICANT = 0.05
BETTER, WORSE, NEITHER = "#1a8f5a", "#b3402e", "#8c8c8c"
_ROW_INCH, _WIDE = 0.17, 3.1


def ranked(results: pl.DataFrame) -> pl.DataFrame:
    """One row for each method and budget over every world, the largest gain over random first: method, type, budget,
    n, p, and for each of ``COLUMNS`` its value with ``<name>_lo`` and ``<name>_hi``."""
    whole = results.filter(world=EVERY)
    frame = whole.filter(metric="vs_random").select("method", "type", "budget", "n", "p")
    for metric in COLUMNS:
        part = whole.filter(metric=metric).select(
            "method", "budget", pl.col("value").alias(metric), lo=pl.col("lo"), hi=pl.col("hi")
        )
        part = part.rename({"lo": f"{metric}_lo", "hi": f"{metric}_hi"})
        frame = frame.join(part, on=["method", "budget"], how="left")
    return frame.sort("vs_random", "method", "budget", descending=[True, False, False])


def markdown(results: pl.DataFrame, refused: pl.DataFrame, about: str) -> str:
    """The whole table with what was compared to what.

    Args:
        results: ``PROVEN``.
        refused: from ``refusals``.
        about: a sentence on what was tried on what.
    """
    tested = comparisons(results)
    lines = [
        about,
        "",
        f"`vs random` is the accuracy of a head trained on the subset minus that of heads trained on as many random "
        f"pairs, paired by world and seed, with its 95 % interval over seeds. {tested} such comparisons were made; "
        f"**bold** ones differ from zero after Holm's adjustment for all of them (p < {SIGNIFICANT:g}). Only seeds on "
        "which a method refused no trial count.",
        "",
        f"| method | budget | seeds | {' | '.join(COLUMNS.values())} |",
        f"| --- | --- | ---: | {' | '.join('---:' for _ in COLUMNS)} |",
    ]
    lines += [_line(row) for row in ranked(results).to_dicts()]
    if not refused.is_empty():
        lines += ["", "Trials that a method refused:", ""]
        lines += [
            f"- `{r['method']}` at {r['budget']}: {r['refused']} trials; {r['problem']}" for r in refused.to_dicts()
        ]
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    cells = [_cell(row, metric) for metric in COLUMNS]
    if row["p"] is not None and row["p"] < SIGNIFICANT:
        cells[0] = f"**{cells[0]}**"
    name = row["method"] if row["method"] == row["type"] else f"{row['method']}` (`{row['type']}`)"
    name = f"`{name}" + ("" if name.endswith(")") else "`")
    return f"| {name} | {row['budget']} | {row['n']} | {' | '.join(cells)} |"


def _cell(row: dict[str, Any], metric: str) -> str:
    value = row[metric]
    if value is None:
        return ""
    if metric == "kept":
        return f"{value:.0f}"
    if metric not in SIGNED:
        return f"{value:.3f}"
    ends = (row[f"{metric}_lo"], row[f"{metric}_hi"])
    shown = "" if metric != "vs_random" or None in ends else f" [{ends[0]:+.3f}, {ends[1]:+.3f}]"
    return f"{value:+.3f}{shown}"


def plot(results: pl.DataFrame, dpi: int, most: int | None = None) -> bytes:
    """PNG: gain over random of every method with its interval, a panel a budget; green and red ones are significant
    after adjustment. Of more than ``most`` methods only the best and the worst are drawn.

    Raises:
        ValueError: nothing was compared with random.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = ranked(results)
    if rows.is_empty():
        raise ValueError("no method was compared with random")
    budgets = rows["budget"].unique().sort().to_list()
    order = rows.group_by("method").agg(pl.col("vs_random").mean()).sort("vs_random")["method"].to_list()
    if most is not None and len(order) > most:
        order = order[: most // 2] + order[-(most - most // 2) :]
        rows = rows.filter(pl.col("method").is_in(order))
    figure = Figure(figsize=(1.8 + _WIDE * len(budgets), _ROW_INCH * len(order) + 0.9), dpi=dpi, layout="constrained")
    axes = figure.subplots(1, len(budgets), squeeze=False, sharex=True, sharey=True)[0]
    for axis, budget in zip(axes, budgets, strict=True):
        _panel(axis, rows.filter(budget=budget).to_dicts(), {name: place for place, name in enumerate(order)})
        axis.set_title(f"budget {budget}", fontsize=8, loc="left")
    axes[0].set_yticks(range(len(order)), order, fontsize=7)
    figure.supxlabel("accuracy minus that of as many random pairs", fontsize=8)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _panel(axis: Any, rows: list[dict[str, Any]], places: dict[str, int]) -> None:
    axis.axvline(0, color="#444444", linewidth=0.8)
    for row in rows:
        value, place = row["vs_random"], places[row["method"]]
        certain = row["p"] is not None and row["p"] < SIGNIFICANT
        colour = NEITHER if not certain else BETTER if value > 0 else WORSE
        if row["vs_random_lo"] is not None:
            axis.plot([row["vs_random_lo"], row["vs_random_hi"]], [place, place], color=colour, linewidth=1.4)
        axis.plot([value], [place], "o", color=colour, markersize=3)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_ylim(-0.6, len(places) - 0.4)
