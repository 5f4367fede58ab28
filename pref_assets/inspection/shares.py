"""Shares of many yes-or-no events, added up part by part, with intervals that know which events belong together."""

import math
from collections.abc import Iterable

import polars as pl

from pref_assets.evaluation.intervals import wilson

EVENTS = pl.Schema(
    {"prompt": pl.String, "kept": pl.Boolean, "metric": pl.String, "group": pl.String, "won": pl.Boolean}
)
"""An event: its prompt, whether its pair was kept, and whether what ``metric`` asks of ``group`` holds."""
_KEY = ("data", "metric", "group")
_SUMS = ("n", "wins", "wins_wins", "wins_sizes", "sizes_sizes", "prompts")


def sums(events: pl.DataFrame) -> pl.DataFrame:
    """What shares and their intervals need, a row for each data, metric and group. All events of a prompt must be in
    the same call; sums of several calls add up."""
    both = [events.with_columns(data=pl.lit("comparisons")), events.filter("kept").with_columns(data=pl.lit("pairs"))]
    by_prompt = pl.concat(both).group_by(*_KEY, "prompt").agg(w=pl.col("won").sum().cast(pl.Float64), c=pl.len())
    w, c = pl.col("w"), pl.col("c").cast(pl.Float64)
    return by_prompt.group_by(_KEY).agg(
        n=c.sum(),
        wins=w.sum(),
        wins_wins=(w * w).sum(),
        wins_sizes=(w * c).sum(),
        sizes_sizes=(c * c).sum(),
        prompts=pl.len().cast(pl.Float64),
    )


def shares(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Columns of ``BIAS``: the share of each group of all parts of ``sums``, with a Wilson interval at the effective
    number of events (`evaluation.intervals.effective_size`), as the pairs of a prompt resemble each other."""
    total = pl.concat(parts).group_by(_KEY).agg(pl.col(_SUMS).sum()).sort(_KEY)
    rows = []
    for *key, n, wins, wins_wins, wins_sizes, sizes_sizes, prompts in total.select(*_KEY, *_SUMS).iter_rows():
        size = _effective(n, wins, wins_wins, wins_sizes, sizes_sizes, prompts)
        rows.append((*key, wins / n, *wilson(wins / n * size, size), int(n)))
    return pl.DataFrame(rows, schema=[*_KEY, "value", "lo", "hi", "n"], orient="row")


def _effective(n: float, wins: float, wins_wins: float, wins_sizes: float, sizes_sizes: float, prompts: float) -> float:
    """`evaluation.intervals.effective_size` of 0-1 values, from sums over the groups."""
    if prompts == n:
        return n
    mean = wins / n
    simple = mean * (1 - mean) / n
    if simple == 0 or prompts == 1:
        return prompts
    squares = math.fsum((wins_wins, -2 * mean * wins_sizes, mean * mean * sizes_sizes))
    clustered = squares / n**2 * prompts / (prompts - 1)
    return min(n, n * simple / clustered) if clustered > 0 else n
