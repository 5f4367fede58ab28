"""Task: measures what the store does not hold yet."""

import math
import time
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.scoring.base import MeasuredScorer
from pref_assets.training.job import Job, Reporter


def measure(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: ``job.config`` is the scorer, ``job.inputs["items"]`` Parquet of its items, ``job.params`` its store
    ``key`` and ``sources``.

    Returns:
        ``measured`` and ``reused`` (items), ``seconds``, and what the scorer counted.
    """
    start = time.monotonic()
    scorer = load(job.config)
    store, key = Store(Home(Path(job.home)).store), str(job.params["key"])
    items = pl.read_parquet(job.inputs["items"])
    missing = store.missing(scorer.kind, key, items["id"])
    counted: dict[str, float] = {}
    if missing:
        todo = items.join(pl.DataFrame({"id": missing}), on="id", how="semi", maintain_order="left")
        report.log(f"{job.config['type']}: measuring {len(todo)} of {len(items)} items")
        counted = scorer.measure(todo, job.params["sources"], lambda rows: store.append(scorer.kind, key, rows), report)
    seconds = round(time.monotonic() - start, 3)
    return {**counted, "measured": len(missing), "reused": len(items) - len(missing), "seconds": seconds}


def measured_alone(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: measures the items again, one in a batch and in reverse order, and compares with the store. Arguments as
    for ``measure``.

    Returns:
        ``items``, and ``largest_difference`` of any number, in units of 1 + its size.
    """
    scorer = load(job.config)
    store, key = Store(Home(Path(job.home)).store), str(job.params["key"])
    items = pl.read_parquet(job.inputs["items"]).reverse()
    again: list[pl.DataFrame] = []
    alone = scorer.model_copy(update={"batch_tokens": 1})
    alone.measure(items, job.params["sources"], again.append, report)
    known = store.read(scorer.kind, key, items["id"])
    return {"items": len(items), "largest_difference": _largest_difference(known, pl.concat(again))}


def _largest_difference(known: pl.DataFrame, again: pl.DataFrame) -> float:
    """Over every float and list of floats; a number that is there only once differs without bound."""
    largest = 0.0
    both = known.join(again, on="id", how="left", suffix="_again", validate="1:1")
    for name, dtype in known.schema.items():
        if dtype.is_float() or (isinstance(dtype, pl.List) and dtype.inner.is_float()):
            first, second = (both.get_column(each).explode() for each in (name, f"{name}_again"))
            if len(first) != len(second) or (first.is_null() != second.is_null()).any():
                return math.inf
            numbers = pl.DataFrame({"first": first, "second": second})
            relative = ((pl.col("first") - pl.col("second")) / (1 + pl.col("first").abs())).abs()
            largest = max(largest, float(numbers.select(relative.max().fill_null(0.0)).item()))
    return largest


def load(config: dict[str, Any]) -> MeasuredScorer:
    """The scorer behind dumped settings."""
    from pref_assets.scoring import ScorerConfig

    scorer = TypeAdapter(ScorerConfig).validate_python(config)
    if not isinstance(scorer, MeasuredScorer):
        raise TypeError(f"scorer {config['type']!r} measures nothing")
    return scorer
