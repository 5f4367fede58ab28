"""What was made from a pipeline's data: subsets, checkpoints, evaluations."""

import polars as pl

from pref_assets.home import Home
from pref_assets.lineage.facts import Use
from pref_assets.lineage.rows import manifests
from pref_assets.lineage.tables import PipelineTables, filled
from pref_assets.pairs.schema import DECISIONS


def uses(home: Home, pipeline: str) -> list[Use]:
    """Subsets and evaluations as they are now, and every published checkpoint.

    Raises:
        UnknownQueryError: the pipeline has no tables in this home.
    """
    tables = PipelineTables.open(home, pipeline)
    return [*_subsets(tables), *_checkpoints(home, pipeline), *_evaluations(tables)]


def _subsets(tables: PipelineTables) -> list[Use]:
    found = []
    for name in tables.names("subsets"):
        now = tables.store.versioned((tables.pipeline, "subsets", name))
        kept = filled(now.rows, DECISIONS).filter("selected")
        counts = kept.select(pl.len(), swapped=(pl.col("p_chosen") < 0.5).sum(), labelled=pl.col("p_chosen").count())
        selected, swapped, labelled = counts.collect().row(0)
        relabelled = f", {labelled:,} relabelled, {swapped:,} of them the other way round" if labelled else ""
        what = f"chosen from {now.snapshot.rows:,} pairs{relabelled}"
        found.append(Use("subset", name, str(now.snapshot.version), selected, what, now.snapshot.content_hash))
    return found


def _checkpoints(home: Home, pipeline: str) -> list[Use]:
    return [
        Use(
            "checkpoint",
            manifest.name,
            manifest.version,
            manifest.n_pairs,
            f"{manifest.kind.replace('_', ' ')} of {manifest.base} on subset {manifest.subset.key[-1]}, "
            f"version {manifest.subset.delta_version}",
            manifest.created,
        )
        for _, manifest in manifests(home, pipeline)
    ]


def _evaluations(tables: PipelineTables) -> list[Use]:
    found = []
    for name in tables.names("evaluations"):
        now = tables.store.versioned((tables.pipeline, "evaluations", name))
        measured = now.rows.select("checkpoint", "version").unique().drop_nulls("version").collect()
        made_from = ", ".join(sorted(f"{checkpoint} {version}" for checkpoint, version in measured.iter_rows()))
        found.append(
            Use("evaluation", name, str(now.snapshot.version), None, made_from or "scores", now.snapshot.content_hash)
        )
    return found
