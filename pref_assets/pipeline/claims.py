"""Claims about an asset: all of one asset are checked in one step, over tables that are read as far as needed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import polars as pl

from pref_assets.pipeline.metadata import bounded, preview, series
from pref_assets.pipeline.naming import SCANS

Checks = list[dg.AssetChecksDefinition]
Frames = Mapping[str, pl.LazyFrame]

ITSELF = "itself"
"""Name of the checked asset among the frames a claim reads."""


@dataclass(frozen=True)
class Claim:
    """What must hold of an asset.

    Attributes:
        name: the claim, as the name of the check.
        description: the claim in a sentence, with what to do when it does not hold.
        judge: the verdict, from the frames that ``reads`` names and the asset ``itself``.
        reads: other tables it looks at.
        blocking: whether nothing downstream may run when it fails.
    """

    name: str
    description: str
    judge: Callable[[Frames], dg.AssetCheckResult]
    reads: Mapping[str, dg.AssetKey] = field(default_factory=dict)
    blocking: bool = True


def check(asset: dg.AssetKey, claims: Sequence[Claim]) -> dg.AssetChecksDefinition:
    """One step that judges every claim about ``asset``, a table; any of them can be run alone."""
    keys = {ITSELF: asset, **{name: key for claim in claims for name, key in claim.reads.items()}}
    by_name = {claim.name: claim for claim in claims}

    @dg.multi_asset_check(
        name="__".join([*asset.path, "claims"]),
        specs=[
            dg.AssetCheckSpec(
                claim.name,
                asset=asset,
                description=claim.description,
                blocking=claim.blocking,
                additional_deps=list(claim.reads.values()),
            )
            for claim in claims
        ],
        ins={name: dg.AssetIn(key=key, input_manager_key=SCANS) for name, key in keys.items()},
        can_subset=True,
    )
    def claims_hold(context: dg.AssetCheckExecutionContext, **frames: Any) -> Iterator[dg.AssetCheckResult]:
        for key in sorted(context.selected_asset_check_keys):
            result = by_name[key.name].judge(frames)
            yield result._replace(asset_key=asset, check_name=key.name)

    return claims_hold


def verdict(bad: pl.LazyFrame, n: int, columns: Sequence[str] | None = None) -> dg.AssetCheckResult:
    """Passed when nothing is bad; else how many of the ``n`` that were checked are, and the first of them."""
    found = bad.collect()
    metadata = series({"bad": found.height, "checked": n})
    if not found.is_empty():
        metadata["examples"] = preview(found, columns)
    return dg.AssetCheckResult(
        passed=found.is_empty(), severity=dg.AssetCheckSeverity.ERROR, metadata=bounded(metadata)
    )


def height(frame: pl.LazyFrame) -> int:
    """Rows of a frame, counted without reading it."""
    return int(frame.select(pl.len()).collect().item())
