"""From trials to a verdict: paired differences to the controls, with intervals over seeds and adjusted p values."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from pref_assets.pairs.schema import PROVEN

CONTROLS = ("random", "all", "oracle")
EVERY = "every"
"""Name of the mean over all worlds and noise levels."""
_METHOD = ("method", "type", "budget")
_CELL = (*_METHOD, "world", "flips")
LEVEL = 0.95


def proven(trials: pl.DataFrame) -> pl.DataFrame:
    """``PROVEN`` from ``TRIALS``: every metric and ``vs_<control>`` for each cell and for the mean over all cells.

    A seed's mean over cells is one observation of the overall mean, so that its interval is over seeds. Only seeds
    on which the method worked in every cell count there. ``p`` of overall differences is adjusted by Holm (1979) over
    all methods and budgets, for each control by itself.
    """
    known = trials.filter(pl.col("value").is_not_null())
    if known.is_empty():
        return PROVEN.empty()
    values = pl.concat([known.drop("problem"), *(_difference(known, control) for control in CONTROLS)])
    cells = _summed(values, _CELL)
    n_cells = known.select("world", "flips").n_unique()
    whole = values.group_by(*_METHOD, "metric", "seed").agg(pl.col("value").mean(), cells=pl.len())
    complete = whole.filter((pl.col("cells") == n_cells) | ~pl.col("metric").str.contains("^vs_|^accuracy"))
    overall = _summed(complete, _METHOD).with_columns(world=pl.lit(EVERY), flips=pl.lit(None, pl.Float64))
    overall = overall.with_columns(p=_holm(overall))
    rows = pl.concat([overall, cells.with_columns(p=pl.lit(None, pl.Float64))], how="diagonal")
    return PROVEN.conform(rows.select(list(PROVEN.columns)).sort(PROVEN.key))


def _difference(known: pl.DataFrame, control: str) -> pl.DataFrame:
    """Paired differences of accuracy to a control, as further rows."""
    keys = [*_CELL, "seed"]
    ours = known.filter(metric="accuracy").select(*keys, "value")
    theirs = known.filter(metric=f"accuracy_{control}").select(*keys, other="value")
    joined = ours.join(theirs, on=keys, how="inner", nulls_equal=True)
    return joined.select(
        *_CELL, "seed", metric=pl.lit(f"vs_{control}"), value=pl.col("value") - pl.col("other")
    ).select(known.drop("problem").columns)


def _summed(values: pl.DataFrame, by: Iterable[str]) -> pl.DataFrame:
    """Mean, interval and p of each metric over seeds."""
    from scipy.stats import t

    groups = values.group_by(*by, "metric", maintain_order=False).agg(
        pl.col("value").mean().alias("mean"), pl.col("value").std().alias("sd"), pl.len().alias("n")
    )
    n, mean = groups["n"].to_numpy(), groups["mean"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        error = groups["sd"].fill_null(np.nan).to_numpy() / np.sqrt(n)
        half = t.ppf((1 + LEVEL) / 2, np.maximum(n - 1, 1)) * error
        p = 2 * t.sf(np.abs(mean) / error, np.maximum(n - 1, 1))
    p = np.where((error == 0) & (mean == 0), 1.0, p)
    found = groups.with_columns(value="mean", lo=pl.Series(mean - half), hi=pl.Series(mean + half), p=pl.Series(p))
    return found.with_columns(pl.col("lo", "hi", "p").fill_nan(None), n=pl.col("n").cast(pl.Int64)).drop("mean", "sd")


def _holm(rows: pl.DataFrame) -> pl.Series:
    """p values of differences, Holm-adjusted among those of the same metric; null elsewhere."""
    adjusted = np.full(len(rows), np.nan)
    for control in CONTROLS:
        chosen = (rows["metric"] == f"vs_{control}").to_numpy() & rows["p"].is_not_null().to_numpy()
        places = np.flatnonzero(chosen)
        p = rows["p"].to_numpy()[places]
        order = np.argsort(p, kind="stable")
        steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
        adjusted[places[order]] = np.minimum(steps, 1)
    return pl.Series("p", adjusted).fill_nan(None)


def comparisons(results: pl.DataFrame, control: str = "random") -> int:
    """How many overall differences to a control were tested: what p values are adjusted for."""
    return results.filter(world=EVERY, metric=f"vs_{control}").filter(pl.col("p").is_not_null()).height


def refusals(trials: pl.DataFrame) -> pl.DataFrame:
    """Frame (method, budget, refused, problem): trials in which a method refused the pool, with one of the reasons."""
    bad = trials.filter(pl.col("problem").is_not_null())
    return (
        bad.group_by("method", "budget").agg(refused=pl.len(), problem=pl.col("problem").min()).sort("method", "budget")
    )
