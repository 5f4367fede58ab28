"""What every stage's assets share."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.pairs.schema import Table, content_hash
from pref_assets.pipeline.metadata import Metadata, bounded, rows
from pref_assets.pipeline.naming import asset_key

Assets = list[dg.AssetsDefinition]

_REFUSED = dg.AutomationCondition.any_deps_match(
    dg.AutomationCondition.any_checks_match(dg.AutomationCondition.check_failed(), blocking_only=True)
    & ~dg.AutomationCondition.will_be_requested()
)
FOLLOW = (dg.AutomationCondition.eager() & ~_REFUSED).with_label("follow new and sound records")
"""Cheap stages run by themselves, all in one run, when what they read is new and no blocking check refused it.
Training and evaluation wait for a job."""


def table_result(
    frame: pl.DataFrame,
    table: Table,
    metadata: Metadata | None = None,
    *,
    key: dg.AssetKey | None = None,
    partition: bool = False,
) -> dg.MaterializeResult[pl.DataFrame]:
    """A table as an asset's result. Its data version is the hash of its rows."""
    frame = table.conform(frame)
    return dg.MaterializeResult(
        asset_key=key,
        value=frame,
        data_version=dg.DataVersion(content_hash(frame, table.key)),
        metadata=bounded({**rows(frame, partition=partition), **(metadata or {})}),
    )


def pairs_inputs(pipeline: str, *names: str) -> dict[str, dg.AssetIn]:
    """Inputs named like the tables of the pairs stage."""
    return {name: dg.AssetIn(key=asset_key(pipeline, "pairs", name)) for name in names}


def named_inputs(pipeline: str, stage: str, names: list[str]) -> dict[str, dg.AssetIn]:
    """Inputs ``<stage>__<name>`` for entries of another stage; take them out with ``taken``."""
    return {f"{stage}__{name}": dg.AssetIn(key=asset_key(pipeline, stage, name)) for name in names}


def taken(inputs: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The inputs that ``named_inputs`` made for a stage, by entry name."""
    prefix = f"{stage}__"
    return {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}
