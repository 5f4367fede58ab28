"""What a model or a server says of items: measured in a job where the store lacks it, and what that cost."""

from collections.abc import Mapping
from typing import Literal

import dagster as dg
import polars as pl

from pref_assets.features import Store
from pref_assets.home import Home
from pref_assets.pipeline.inputs import write_input
from pref_assets.pipeline.metadata import Metadata, series
from pref_assets.pool import Pool
from pref_assets.resources.compute import Compute
from pref_assets.scoring import Measured
from pref_assets.training.job import Job

_SHOWN = ("measured", "reused", "hit_rate", "seconds", "unparsable", "cost")
"""What is plotted of measuring; a server counts more than the UI shows."""


def measured_rows(
    context: dg.AssetExecutionContext, compute: Compute, home: Home, settings: Measured, pool: Pool
) -> tuple[pl.DataFrame, dict[str, float]]:
    """The measured rows (id, …) of all items, and what was measured now, what the store already held, and what
    measuring cost."""
    store, key, items = Store(home.store), settings.key(pool), settings.items(pool)
    counted: dict[str, float] = {"measured": 0, "reused": items.height, "seconds": 0.0}
    if store.missing(settings.kind, key, items["id"]):
        counted = compute.run(context, measuring_job(home, settings, pool, "measure", items))
    counted["hit_rate"] = counted["reused"] / items.height if items.height else 1.0
    return store.read(settings.kind, key, items["id"]) if items.height else items, counted


def measuring(counted: Mapping[str, float]) -> Metadata:
    """What measuring cost: the few numbers worth following, and all of them in a sentence."""
    if not counted:
        return {}
    said = ", ".join(f"{name.replace('_', ' ')} {value:,.6g}" for name, value in sorted(counted.items()))
    return {**series({name: counted[name] for name in _SHOWN if name in counted}), "measuring": said}


def measuring_job(
    home: Home, settings: Measured, pool: Pool, task: Literal["measure", "measured_alone"], items: pl.DataFrame
) -> Job:
    """The job that measures these items."""
    return Job(
        task=task,
        home=str(home.root),
        config=settings.model_dump(mode="json"),
        inputs={"items": write_input(home, items, "id")},
        params={"key": settings.key(pool), "sources": settings.sources(pool)},
    )
