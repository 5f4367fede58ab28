"""Whether the numbers of a model depend on what else was in the batch, its order or its padding: they must not."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.home import Home
from pref_assets.pipeline.measuring import measuring_job
from pref_assets.pipeline.metadata import bounded, series
from pref_assets.pipeline.naming import GPU_POOL, asset_key
from pref_assets.pipeline.pools import pool_inputs, pool_of
from pref_assets.pipeline.spec import PipelineSpec
from pref_assets.resources.compute import Compute
from pref_assets.scoring import MeasuredScorer

NAME = "scores_do_not_depend_on_batching"
MEASURED_AGAIN = 16
"""Items, of all sizes, measured again to see whether batching matters."""
TOLERANCE = 1e-3
"""Largest difference, in units of 1 + the number, that rounding in another order may make in float32."""
TURNED = 2
"""Items that may differ more, where answers are drawn: rounding turns a draw that falls between two tokens."""


def measuring_changes_nothing(spec: PipelineSpec, name: str, settings: MeasuredScorer) -> dg.AssetChecksDefinition:
    """The check that items measured alone, in another order, get the numbers that the store holds."""

    asset = asset_key(spec.name, "scores", name)
    turned = TURNED if settings.draws else 0
    but = f", but for {turned} whose draws rounding may turn" if turned else ""
    ins = pool_inputs(spec, settings)

    # A check of many inputs takes them by keyword only in this form.
    @dg.multi_asset_check(
        name="__".join([*asset.path, "batching"]),
        specs=[
            dg.AssetCheckSpec(
                NAME,
                asset=asset,
                description=f"{MEASURED_AGAIN} items of all sizes get the same numbers alone and in reverse order as "
                f"in padded batches, to {TOLERANCE:g}{but}.",
                blocking=True,
                additional_deps=[each.key for each in ins.values() if each.key is not None],
            )
        ],
        ins=ins,
        pool=GPU_POOL,
    )
    def scores_do_not_depend_on_batching(
        context: dg.AssetCheckExecutionContext, compute: Compute, home: dg.ResourceParam[Home], **inputs: Any
    ) -> Iterator[dg.AssetCheckResult]:
        pool = pool_of(home, inputs)
        items = of_all_sizes(settings.items(pool), MEASURED_AGAIN)
        if items.is_empty():
            yield dg.AssetCheckResult(
                asset_key=asset, check_name=NAME, passed=True, metadata=bounded(series({"items": 0}))
            )
            return
        done = compute.run(context, measuring_job(home, settings, pool, "measured_alone", items))
        found = done["differences"]
        different = sum(each > TOLERANCE for each in found)
        numbers = {"items": done["items"], "different": different, "largest_difference": max(found)}
        metadata = bounded(series(numbers))
        yield dg.AssetCheckResult(asset_key=asset, check_name=NAME, passed=different <= turned, metadata=metadata)

    return scores_do_not_depend_on_batching


def of_all_sizes(items: pl.DataFrame, n: int) -> pl.DataFrame:
    """At most ``n`` items, from the smallest to the largest in even steps."""
    sizes = items.map_rows(lambda row: len(str(row))).to_series() if items.height else pl.Series([], dtype=pl.Int64)
    ordered = items.with_columns(size=sizes).sort("size", "id").drop("size")
    step = max(1, (ordered.height - 1) // max(1, n - 1))
    return ordered.gather_every(step).head(n)
