"""Task: measures what the store does not hold yet."""

import math
import time
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field, TypeAdapter

from pref_assets.features.store import Store
from pref_assets.home import Home
from pref_assets.scoring.base import Measured
from pref_assets.training.job import Job, Reporter


def measure(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: ``job.config`` is what measures, ``job.inputs["items"]`` Parquet of its items, ``job.params`` its store
    ``key`` and ``sources``.

    Returns:
        ``measured`` and ``reused`` (items), ``seconds``, and what it counted.
    """
    start = time.monotonic()
    method = load(job.config)
    store, key = Store(Home(Path(job.home)).store), str(job.params["key"])
    items = pl.read_parquet(job.inputs["items"])
    missing = store.missing(method.kind, key, items["id"])
    counted: dict[str, float] = {}
    if missing:
        todo = items.join(pl.DataFrame({"id": missing}), on="id", how="semi", maintain_order="left")
        report.log(f"{job.config['type']}: measuring {len(todo)} of {len(items)} items")
        counted = method.measure(todo, job.params["sources"], lambda rows: store.append(method.kind, key, rows), report)
    seconds = round(time.monotonic() - start, 3)
    return {**counted, "measured": len(missing), "reused": len(items) - len(missing), "seconds": seconds}


def measured_alone(job: Job, report: Reporter) -> dict[str, Any]:
    """Task: measures the items again, one in a batch and in reverse order, and compares with the store. Arguments as
    for ``measure``.

    Returns:
        ``items``, and ``differences``: of each item, the largest of any number, in units of 1 + its size.
    """
    method = load(job.config)
    store, key = Store(Home(Path(job.home)).store), str(job.params["key"])
    items = pl.read_parquet(job.inputs["items"]).reverse()
    again: list[pl.DataFrame] = []
    alone = method.model_copy(update={"batch_tokens": 1})
    alone.measure(items, job.params["sources"], again.append, report)
    known = store.read(method.kind, key, items["id"])
    return {"items": len(items), "differences": _differences(known, pl.concat(again))}


def _differences(known: pl.DataFrame, again: pl.DataFrame) -> list[float]:
    """Of each item, over every float and list of floats; a number that is there only once differs without bound."""
    numbers = [
        name
        for name, dtype in known.schema.items()
        if dtype.is_float() or (isinstance(dtype, pl.List) and dtype.inner.is_float())
    ]
    seconds = {row["id"]: row for row in again.select("id", *numbers).iter_rows(named=True)}
    return [
        max((_difference(first[name], seconds[first["id"]][name]) for name in numbers), default=0.0)
        if first["id"] in seconds
        else math.inf
        for first in known.select("id", *numbers).iter_rows(named=True)
    ]


def _difference(first: Any, second: Any) -> float:
    """Largest difference of two numbers or lists of them, in units of 1 + the first."""
    firsts, seconds = (each if isinstance(each, list) else [each] for each in (first, second))
    if [each is None for each in firsts] != [each is None for each in seconds]:
        return math.inf
    both = ((a, b) for a, b in zip(firsts, seconds, strict=True) if a is not None)
    return max((abs(a - b) / (1 + abs(a)) for a, b in both), default=0.0)


def load(config: dict[str, Any]) -> Measured:
    """The scorer, or writer of critiques, behind dumped settings."""
    from pref_assets.scoring import ScorerConfig
    from pref_assets.synthesis.critiques import CritiqueConfig

    every: TypeAdapter[Any] = TypeAdapter(Annotated[ScorerConfig | CritiqueConfig, Field(discriminator="type")])
    method = every.validate_python(config)
    if not isinstance(method, Measured):
        raise TypeError(f"{config['type']!r} measures nothing")
    return method
