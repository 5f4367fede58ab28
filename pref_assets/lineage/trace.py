"""One row through the whole graph: where it came from, every decision on it, every checkpoint it trained.

Reads the tables of a home and the manifests of its checkpoints; needs neither the pipeline file nor Dagster.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.home import Home
from pref_assets.lineage import find
from pref_assets.lineage.critiques import critiques, judgements
from pref_assets.lineage.model import Decision, LineageError, Membership, Origin, PairTrace, RowTrace, Side, Trace, Use
from pref_assets.lineage.pictures import pictures
from pref_assets.lineage.rows import manifests
from pref_assets.lineage.tables import PipelineTables, filled
from pref_assets.pairs.schema import (
    CENTROIDS,
    CLUSTERS,
    COMPLETIONS,
    DECISIONS,
    EVALUATIONS,
    FLAGS,
    PAIR_DROPS,
    PAIR_DUPLICATES,
    PAIR_SCORES,
    PAIRS,
    PROMPTS,
    QUARANTINE,
    RAW,
    RECORD_COMPLETIONS,
    RECORD_VOTES,
)
from pref_assets.pairs.texts import text_of
from pref_assets.training.checkpoint import PAIR_TABLE, pair_ids

_DECIDED = ("selected", "rank", "score", "reason", "weight", "p_chosen", "margin")


def trace(home: Home, pipeline: str, query: str) -> Trace:
    """Everything recorded about what the query names.

    Args:
        home: the state folder.
        pipeline: name of the pipeline whose tables are asked.
        query: a pair id or the start of one (4 characters or more), ``file:row`` (the file by its last path parts), or
            the start of a completion's text. A pointer to a refused row, or to rows whose pairs were dropped, answers
            with the reason.

    Raises:
        UnknownQueryError: nothing answers; the message says what can be asked.
        AmbiguousQueryError: several things answer; it lists them.
    """
    tables = PipelineTables.open(home, pipeline)
    if (pairs := find.of_pair_id(tables, query.strip())) is not None:
        return _answer(tables, query, "pair", pairs)
    if (pointer := find.of_pointer(tables, query)) is not None:
        _, pairs = find.of_row(tables, *pointer)
        return _answer(tables, query, "row", pairs, [pointer])
    if query.strip() and (completion := find.of_text(tables, query)) is not None:
        pairs = completion[1]
        return _answer(tables, query, "completion", pairs, [] if pairs else _rows_of(tables, completion[0]))
    if query.strip() and (refused := find.refused_with(tables, query)):
        return _answer(tables, query, "row", [], refused)
    raise find.unknown(tables, query)


def _answer(
    tables: PipelineTables, query: str, found: str, pairs: list[str], rows: list[tuple[str, int]] | None = None
) -> Trace:
    traced = list(_pairs(tables, pairs))
    pointers = rows or sorted({(origin.uri, origin.row) for pair in traced for origin in pair.origins})
    return Trace(tables.pipeline, query, found, _rows(tables, pointers), traced)


def _rows_of(tables: PipelineTables, completion: str) -> list[tuple[str, int]]:
    frame = tables.scan("pairs", "completions", COMPLETIONS).filter(pl.col("completion_id") == completion).collect()
    return sorted({(origin["uri"], origin["row"]) for origin in frame["provenance"][0]})


def _rows(tables: PipelineTables, pointers: list[tuple[str, int]]) -> list[RowTrace]:
    """Rows as read, with the verdict of the reader."""
    asked = pl.LazyFrame(pointers, schema={"uri": pl.String, "row": pl.Int64}, orient="row")
    found = []
    for source in tables.names("raw"):
        raw = tables.scan("raw", source, RAW).join(asked, on=["uri", "row"]).collect().sort("uri", "row", "batch")
        refused = tables.scan("records", f"{source}_quarantine", QUARANTINE).join(asked, on=["uri", "row"]).collect()
        held = tables.scan("records", f"{source}_completions", RECORD_COMPLETIONS).join(asked, on=["uri", "row"])
        counts = held.group_by("uri", "row", "batch").agg(pl.col("completion_id").n_unique()).collect()
        verdicts = {(r["uri"], r["row"], r["batch"]): (r["code"], r["reason"]) for r in refused.to_dicts()}
        sizes = {tuple(key): size for *key, size in counts.iter_rows()}
        for row in raw.to_dicts():
            where = (row["uri"], row["row"], row["batch"])
            code, reason = verdicts.get(where, (row["code"], row["reason"]))
            found.append(RowTrace(Origin.of(row), row["payload"], code, reason, sizes.get(where, 0)))
    return found


def _pairs(tables: PipelineTables, ids: list[str]) -> Iterator[PairTrace]:
    """One trace a pair, in the order of ``ids``."""
    mine = pl.col("pair_id").is_in(ids)
    kept = {row["pair_id"]: row for row in tables.scan("pairs", "pairs", PAIRS).filter(mine).collect().to_dicts()}
    drops = tables.scan("pairs", "pair_drops", PAIR_DROPS).filter(mine).collect().sort("pair_id", "code").to_dicts()
    dropped = {row["pair_id"]: row for row in drops}
    everything = {**dropped, **kept}
    sides = sorted({row[side] for row in everything.values() for side in ("chosen_id", "rejected_id")})
    completions = _completions(tables, sides)
    clusters = _clusters(tables, [*ids, *sides])
    written, judged = critiques(tables, sides), judgements(tables, list(kept))
    scores = _scores(tables, ids)
    decisions = _decisions(tables, ids)
    uses = _uses(tables, ids)
    flags, copies = _flags(tables, ids), _copies(tables, ids)
    for pair in ids:
        row = everything[pair]
        chosen, rejected = (
            replace(
                _side(completions, id_, clusters, pair),
                critiques=written.get(id_, []),
                judgements=judged.get(id_, []),
            )
            for id_ in (row["chosen_id"], row["rejected_id"])
        )
        yield PairTrace(
            pair_id=pair,
            prompt=completions[row["chosen_id"]]["prompt"],
            chosen=chosen,
            rejected=rejected,
            split=row.get("split"),
            p_chosen=row.get("p_chosen"),
            votes=row["votes"] if pair in kept else _record_votes(tables, row["chosen_id"], row["rejected_id"]),
            origins=[Origin.of(origin) for origin in row["provenance"]],
            images=pictures(tables.home, _images(completions, row)),
            code=None if pair in kept else dropped[pair]["code"],
            reason=None if pair in kept else dropped[pair]["reason"],
            flags=flags.get(pair, []),
            copies=copies.get(pair, []),
            clusters=clusters.get(pair, []),
            scores=scores.get(pair, {}),
            decisions=decisions.get(pair, []),
            checkpoints=uses.get(pair, []),
        )


def _flags(tables: PipelineTables, ids: list[str]) -> dict[str, list[str]]:
    said = pl.format("{}: {}", "code", "detail").alias("said")
    found = tables.scan("pairs", "flags", FLAGS).filter(pl.col("pair_id").is_in(ids)).select("pair_id", said)
    return dict(found.sort("pair_id", "said").group_by("pair_id").agg("said").collect().iter_rows())


def _copies(tables: PipelineTables, ids: list[str]) -> dict[str, list[str]]:
    found = tables.scan("pairs", "pair_duplicates", PAIR_DUPLICATES).filter(pl.col("of").is_in(ids))
    return dict(found.sort("of", "pair_id").group_by("of").agg("pair_id").collect().iter_rows())


def _completions(tables: PipelineTables, ids: list[str]) -> dict[str, dict[str, Any]]:
    prompts = tables.scan("pairs", "prompts", PROMPTS).select("prompt_id", "images", prompt=text_of("messages"))
    frame = (
        tables.scan("pairs", "completions", COMPLETIONS)
        .filter(pl.col("completion_id").is_in(ids))
        .join(prompts, on="prompt_id", how="left")
        .select("completion_id", "model", "ratings", "prompt", "images", text=text_of("messages"))
        .collect()
    )
    return {row["completion_id"]: row for row in frame.to_dicts()}


def _images(completions: dict[str, dict[str, Any]], row: dict[str, Any]) -> list[str]:
    """Images of the prompt, or of both where the sides answer two, each once."""
    return list(
        dict.fromkeys(uri for side in ("chosen_id", "rejected_id") for uri in completions[row[side]]["images"] or ())
    )


def _side(
    completions: dict[str, dict[str, Any]], completion: str, clusters: dict[str, list[Membership]], pair: str
) -> Side:
    if completion not in completions:
        raise LineageError(f"pair {pair} names completion {completion}, which the completions table does not hold")
    row = completions[completion]
    return Side(completion, row["text"], row["model"], row["ratings"] or [], clusters.get(completion, []))


def _record_votes(tables: PipelineTables, chosen: str, rejected: str) -> list[dict[str, Any]]:
    """Votes as read, for a pair that was dropped and so has no row of its own."""
    a, b = sorted((chosen, rejected))
    names = {"tie": "tie", "a": "chosen" if a == chosen else "rejected", "b": "chosen" if b == chosen else "rejected"}
    votes = []
    for name in tables.names("records", "_votes"):
        here = (pl.col("completion_a") == a) & (pl.col("completion_b") == b)
        frame = tables.scan("records", name, RECORD_VOTES).filter(here).collect().sort("uri", "row", "annotator")
        votes += [{**vote, "choice": names[vote["choice"]]} for vote in frame.to_dicts()]
    return [{key: vote[key] for key in ("annotator", "dimension", "choice", "strength", "rationale")} for vote in votes]


def _clusters(tables: PipelineTables, ids: list[str]) -> dict[str, list[Membership]]:
    found: dict[str, list[Membership]] = {}
    names = tables.names("clusters")
    for name in (n for n in names if not (n.endswith("_centroids") and n.removesuffix("_centroids") in names)):
        labels = tables.scan("clusters", f"{name}_centroids", CENTROIDS).select("cluster", "label")
        members = tables.scan("clusters", name, CLUSTERS).filter(pl.col("id").is_in(ids))
        for row in members.join(labels, on="cluster", how="left").collect().to_dicts():
            membership = Membership(name, row["cluster"], row["label"], row["distance"])
            found.setdefault(row["id"], []).append(membership)
    return found


def _scores(tables: PipelineTables, ids: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in tables.names("scores"):
        rows = tables.scan("scores", name, PAIR_SCORES).filter(pl.col("pair_id").is_in(ids)).collect().to_dicts()
        for row in rows:
            found.setdefault(row.pop("pair_id"), {})[name] = row
    return found


def _decisions(tables: PipelineTables, ids: list[str]) -> dict[str, list[Decision]]:
    found: dict[str, list[Decision]] = {}
    for name in tables.names("subsets"):
        stored = filled(tables.scan("subsets", name, DECISIONS), DECISIONS)
        for row in stored.filter(pl.col("pair_id").is_in(ids)).select("pair_id", *_DECIDED).collect().to_dicts():
            decision = Decision(name, *(row[column] for column in _DECIDED))
            found.setdefault(row["pair_id"], []).append(decision)
    return found


def _uses(tables: PipelineTables, ids: list[str]) -> dict[str, list[Use]]:
    found: dict[str, list[Use]] = {}
    evaluations = _evaluations(tables)
    for folder, manifest in manifests(tables.home, tables.pipeline):
        values = _counted(folder, ids)
        for pair in sorted(set(pair_ids(folder)) & set(ids)):
            use = Use(
                checkpoint=manifest.name,
                version=manifest.version,
                kind=manifest.kind,
                subset=manifest.subset.key[-1],
                created=manifest.created,
                evaluations=evaluations.get((manifest.name, manifest.version), []),
                values=values.get(pair, {}),
            )
            found.setdefault(pair, []).append(use)
    return found


def _counted(folder: Path, ids: list[str]) -> dict[str, dict[str, float]]:
    """Numbers of pairs from a checkpoint's own table; older checkpoints have none."""
    file = folder / PAIR_TABLE
    if not file.exists():
        return {}
    rows = pl.scan_parquet(file).filter(pl.col("pair_id").is_in(ids)).collect()
    numbers = rows.select("pair_id", pl.selectors.numeric()).to_dicts()
    return {row.pop("pair_id"): {name: value for name, value in row.items() if value is not None} for row in numbers}


def _evaluations(tables: PipelineTables) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for name in tables.names("evaluations"):
        rows = tables.scan("evaluations", name, EVALUATIONS).select("checkpoint", "version").drop_nulls().unique()
        for checkpoint, version in rows.collect().iter_rows():
            found.setdefault((checkpoint, version), []).append(name)
    return found
