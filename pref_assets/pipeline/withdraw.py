"""Withdrawing, and asking what a withdrawal taints, with what Dagster knows of runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
import polars as pl
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from pref_assets.home import Home
from pref_assets.lineage import withdrawal
from pref_assets.lineage.hits import Hits, hits
from pref_assets.lineage.impact import Impact, impact
from pref_assets.lineage.model import UnknownQueryError
from pref_assets.lineage.selectors import HELP, resolve
from pref_assets.lineage.tables import PipelineTables
from pref_assets.lineage.withdrawal import Selector, tombstones
from pref_assets.pipeline.freshness import statuses
from pref_assets.pipeline.history import history
from pref_assets.pipeline.run import outdated, selected
from pref_assets.pipeline.withdrawn import report


@dataclass(frozen=True)
class Withdrawn:
    """What a withdrawal did.

    Attributes:
        new: selectors that have a tombstone since now.
        known: those that had one.
        hits: what the new ones hit.
        impact: what they taint, before anything is computed again.
        stale: assets that are out of date since, with everything downstream of them.
    """

    new: tuple[Selector, ...]
    known: tuple[Selector, ...]
    hits: Hits
    impact: Impact
    stale: tuple[str, ...]


def withdraw(
    instance: dg.DagsterInstance, graph: AssetGraph, home: Home, pipeline: str, texts: Sequence[str], reason: str
) -> Withdrawn:
    """Writes tombstones, and lets Dagster know, so that everything merged without them is out of date.

    Raises:
        ValueError: a text is no selector, or no reason is given.
        LookupError: there is no such pipeline or no such thing in it, or nothing of it is left.
    """
    keys = {key for key in selected(graph, pipeline) if graph.get(key).partitions_def is None}
    tables = PipelineTables.open(home, pipeline)
    report(instance, home, pipeline)
    selectors = resolve(tables, texts)
    written = {each.id for each in selectors} & set(tombstones(home, pipeline)["withdrawal_id"])
    wanted = [each for each in selectors if each.id not in written]
    for each in wanted:
        if not hits(tables, [each]).any:
            raise UnknownQueryError(f"{each} matches nothing that is left in pipeline {pipeline!r}")
    found = hits(tables, wanted)
    tainted = impact(home, pipeline, wanted, history(instance, home, pipeline))
    before = outdated(graph, statuses(instance, graph, keys), keys)
    withdrawal.withdraw(home, pipeline, selectors, reason)
    report(instance, home, pipeline)
    stale = outdated(graph, statuses(instance, graph, keys), keys) - before
    order = [key for key in graph.toposorted_asset_keys if key in stale]
    return Withdrawn(
        tuple(wanted),
        tuple(each for each in selectors if each.id in written),
        found,
        tainted,
        tuple("/".join(key.path) for key in order),
    )


def impact_of(instance: dg.DagsterInstance, home: Home, pipeline: str, texts: Sequence[str]) -> Impact:
    """What withdrawals taint, before them and now: all of the pipeline, or those that texts name, withdrawn or not.

    Raises:
        LookupError: there is no such pipeline or no such thing in it, or nothing was withdrawn.
    """
    tables = PipelineTables.open(home, pipeline)
    known = tombstones(home, pipeline)
    if not texts and known.is_empty():
        raise UnknownQueryError(f"nothing was withdrawn from pipeline {pipeline!r}; name what to look at: {HELP}")
    named = resolve(tables, texts) if texts else [Selector(*each) for each in known.select("kind", "value").rows()]
    at = known.filter(pl.col("withdrawal_id").is_in([each.id for each in named]))["at"].min()
    moment = None if at is None else datetime.fromisoformat(str(at))
    return impact(home, pipeline, named, history(instance, home, pipeline, moment))
