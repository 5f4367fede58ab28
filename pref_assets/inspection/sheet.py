"""The bias sheet in words: Markdown of a ``BIAS`` table."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from pref_assets.inspection.bias import METRICS, BiasSheet
from pref_assets.inspection.plots import PICTURES, TITLES

_INTRO = f"""Shares are given with 95 % Wilson intervals, at the number of independent prompts that the pairs are worth.
`before` is every comparison that the votes settle, `after` the pairs that curation kept; of more than
{BiasSheet().max_pairs:,} comparisons, those of a random sample of prompts. Ties prefer no side and are left out.
A share far from one half is what a model can learn instead of quality."""
_HEADINGS = {
    "length": "Length",
    "form": "Form",
    "origin": "Model, source and position",
    "agreement": "Agreement",
    "losses": "What was taken out",
}


def markdown(pipeline: str, bias: pl.DataFrame, pictures: Mapping[str, str] | None = None) -> str:
    """The whole sheet.

    Args:
        pipeline: its name.
        bias: rows of ``BIAS``.
        pictures: for each of ``plots.PICTURES`` that was drawn, the file to show.
    """
    lines = [f"# Bias sheet: {pipeline}", "", _INTRO, ""]
    for name, metrics in PICTURES.items():
        found = [metric for metric in metrics if metric in bias["metric"]]
        if not found:
            continue
        lines += [f"## {_HEADINGS[name]}", ""]
        if pictures and name in pictures:
            lines += [f"![{_HEADINGS[name]}]({pictures[name]})", ""]
        for metric in found + (["length_gap"] if name == "length" else []):
            lines += _table(bias, metric)
    return "\n".join(lines).rstrip() + "\n"


def _table(bias: pl.DataFrame, metric: str) -> Iterator[str]:
    rows: dict[str, dict[str, Any]] = {}
    for row in bias.filter(metric=metric).sort("group", "data").to_dicts():
        rows.setdefault(row["group"], {})[row["data"]] = row
    if not rows:
        return
    title = TITLES.get(metric, "Words and characters of the chosen answer minus those of the rejected one")
    yield from (f"**{title}.** {METRICS[metric]}", "")
    both = "pairs" in bias.filter(metric=metric)["data"]
    yield "| group | before | n | after | n |" if both else "| group | value | n |"
    yield "|---|---|---|---|---|" if both else "|---|---|---|"
    for group, row in rows.items():
        cells = [group.replace("|", "\\|")]
        for data in ("comparisons", "pairs") if both else ("comparisons",):
            cells += _cells(metric, row.get(data))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _cells(metric: str, row: dict[str, Any] | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    if metric == "length_gap":
        return f"{row['value']:+.1f}", f"{row['n']:,}"
    if row["lo"] is None:
        return f"{row['value']:.3f}", f"{row['n']:,}"
    ends = (f"{100 * row[each]:.1f}" for each in ("value", "lo", "hi"))
    return "{} % ({}–{})".format(*ends), f"{row['n']:,}"
