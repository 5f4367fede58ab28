"""What every stage's assets share."""

from collections.abc import Mapping
from typing import Any, TypeVar

import dagster as dg
import polars as pl

from pref_assets.content import content_hash
from pref_assets.home import Home
from pref_assets.pairs.media import MediaStore
from pref_assets.pairs.schema import (
    Table,
)
from pref_assets.pairs.thumbnails import stored
from pref_assets.pipeline.metadata import PREVIEW_ROWS, Metadata, bounded, pictures, row_count
from pref_assets.pipeline.naming import OUTSIDE_RUNS, asset_key
from pref_assets.resources.tables import CONTENT_HASH
from pref_assets.staging import Staged

Assets = list[dg.AssetsDefinition]

_REFUSED = dg.AutomationCondition.any_deps_match(
    dg.AutomationCondition.any_checks_match(dg.AutomationCondition.check_failed(), blocking_only=True)
    & ~dg.AutomationCondition.will_be_requested()
)
_MISSING = dg.AutomationCondition.any_deps_missing().ignore(dg.AssetSelection.tag(*OUTSIDE_RUNS, include_sources=True))
FOLLOW = (dg.AutomationCondition.eager().replace("any_deps_missing", _MISSING) & ~_REFUSED).with_label(
    "follow new and sound records"
)
"""Cheap stages run by themselves, all in one run, when what they read is new and no blocking check refused it.
Training and evaluation wait for a job."""


Rows = TypeVar("Rows", pl.DataFrame, Staged)


def table_result(
    rows: Rows,
    table: Table,
    metadata: Metadata | None = None,
    *,
    key: dg.AssetKey | None = None,
    partition: bool = False,
) -> dg.MaterializeResult[Rows]:
    """A frame, or staged rows, of a table as an asset's result. Its data version is the hash of its rows."""
    if isinstance(rows, Staged):
        version, height = rows.content_hash, rows.rows
    else:
        rows = table.conform(rows)
        version, height = content_hash(rows), rows.height
    return dg.MaterializeResult(
        asset_key=key,
        value=rows,
        data_version=dg.DataVersion(version),
        metadata=bounded({**row_count(height, partition=partition), CONTENT_HASH: version, **(metadata or {})}),
    )


def seen(texts: pl.DataFrame, prompts: pl.DataFrame, home: Home) -> Metadata:
    """What the first of these pairs look at, in thumbnails; nothing where none of them looks at anything.

    Args:
        texts: prompt_id, prompt, chosen and rejected as texts.
        prompts: those of these pairs at least.
    """
    first = texts.select("prompt_id", "prompt", "chosen", "rejected").head(PREVIEW_ROWS)
    first = first.join(prompts.select("prompt_id", "images"), on="prompt_id", how="left", maintain_order="left")
    first = first.filter(pl.col("images").list.len() > 0)
    if first.is_empty():
        return {}
    media = MediaStore(home.media)
    rows = [
        (_caption(prompt, chosen, rejected), [stored(uri, media) for uri in images])
        for prompt, chosen, rejected, images in first.drop("prompt_id").iter_rows()
    ]
    return {"pictures": pictures(rows)}


def _caption(*texts: str | None) -> str:
    prompt, chosen, rejected = (_start(text or "") for text in texts)
    return f"{prompt} · chosen: {chosen} · rejected: {rejected}"


def _start(text: str, characters: int = 60) -> str:
    return text if len(text) <= characters else f"{text[:characters]}…"


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
