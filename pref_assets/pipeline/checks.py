"""Checks of the data: what must hold before anything trains. A failed blocking check stops what is downstream."""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from pref_assets.pipeline.metadata import bounded, preview, series
from pref_assets.pipeline.naming import asset_key
from pref_assets.pipeline.spec import PipelineSpec

Checks = list[dg.AssetChecksDefinition]


def verdict(bad: pl.DataFrame, n: int, columns: Sequence[str] | None = None) -> dg.AssetCheckResult:
    """Passed when nothing is bad; else how many of the ``n`` that were checked are, and the first of them."""
    metadata = series({"bad": bad.height, "checked": n})
    if not bad.is_empty():
        metadata["examples"] = preview(bad, columns)
    return dg.AssetCheckResult(passed=bad.is_empty(), severity=dg.AssetCheckSeverity.ERROR, metadata=bounded(metadata))


def data_checks(spec: PipelineSpec) -> Checks:
    """Checks of records, pairs, features and scores."""
    found: Checks = []
    for source in spec.sources:
        found += [_few_bad_rows(spec, source, "records"), _few_bad_rows(spec, source, "pairs")]
    found += [_ids_are_unique(spec, table, column) for table, column in _IDS.items()]
    found += [_prompts_do_not_leak(spec), _votes_are_resolved(spec), _sides_exist(spec)]
    found += [_embedded(spec, name) for name in spec.embeddings]
    found += [_clustered(spec, name, settings.embeddings) for name, settings in spec.clusters.items()]
    found += [_scored(spec, name) for name in spec.scores]
    return found


_IDS = {"prompts": "prompt_id", "completions": "completion_id", "pairs": "pair_id"}


def bad_batches(raw: pl.DataFrame, quarantine: pl.DataFrame, limit: float) -> pl.DataFrame:
    """Batches with a larger share of refused rows than ``limit``: frame(batch, uri, rows, bad, share)."""
    read = raw.group_by("batch").agg(pl.col("uri").first(), rows=pl.len())
    refused = quarantine.group_by("batch").agg(bad=pl.struct("uri", "row").n_unique())
    share = pl.col("bad") / pl.col("rows")
    return read.join(refused, on="batch").with_columns(share=share).filter(share > limit).sort("batch")


def _few_bad_rows(spec: PipelineSpec, source: str, stage: str) -> dg.AssetChecksDefinition:
    limit = spec.sources[source].max_bad_share
    what = f"At most {limit:.0%} of the rows of any batch of `{source}` are in quarantine."
    advice = f"{what} Mend the file, or remove it, and run again; or raise `sources.{source}.max_bad_share`."
    raw_in = dg.AssetIn(key=asset_key(spec.name, "raw", source))
    quarantine_key = asset_key(spec.name, "records", f"{source}_quarantine")

    def judge(raw: pl.DataFrame, quarantine: pl.DataFrame) -> dg.AssetCheckResult:
        bad = bad_batches(raw.select("batch", "uri"), quarantine.select("batch", "uri", "row"), limit)
        return verdict(bad, raw["batch"].n_unique())

    if stage == "records":

        @dg.asset_check(
            asset=quarantine_key,
            name="few_rows_of_a_batch_are_bad",
            description=advice,
            blocking=True,
            additional_ins={"raw": raw_in},
        )
        def of_records(quarantine: pl.DataFrame, raw: pl.DataFrame) -> dg.AssetCheckResult:
            return judge(raw, quarantine)

        return of_records

    @dg.asset_check(
        asset=asset_key(spec.name, "pairs", "pairs"),
        name=f"few_rows_of_{source}_are_bad",
        description=advice,
        blocking=True,
        additional_ins={"raw": raw_in, "quarantine": dg.AssetIn(key=quarantine_key)},
    )
    def of_pairs(raw: pl.DataFrame, quarantine: pl.DataFrame) -> dg.AssetCheckResult:
        return judge(raw, quarantine)

    return of_pairs


def _ids_are_unique(spec: PipelineSpec, table: str, column: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "pairs", table),
        name=f"{column}s_are_unique",
        description=f"Every `{column}` is there, and only once.",
        blocking=True,
    )
    def ids_are_unique(frame: pl.DataFrame) -> dg.AssetCheckResult:
        bad = frame.filter(pl.col(column).is_duplicated() | pl.col(column).is_null())
        return verdict(bad, frame.height, [column])

    return ids_are_unique


def _prompts_do_not_leak(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "pairs", "pairs"),
        name="prompts_do_not_leak_across_splits",
        description="All pairs of a prompt are in one split, the one that the prompts table says.",
        blocking=True,
        additional_ins={"prompts": dg.AssetIn(key=asset_key(spec.name, "pairs", "prompts"))},
    )
    def prompts_do_not_leak(pairs: pl.DataFrame, prompts: pl.DataFrame) -> dg.AssetCheckResult:
        found = pairs.filter(pl.col("prompt_id").is_not_null()).select("pair_id", "prompt_id", "split")
        found = found.join(prompts.select("prompt_id", of_prompt="split"), on="prompt_id", how="left")
        several = pl.col("split").n_unique().over("prompt_id") > 1
        bad = found.filter(several | pl.col("split").ne_missing(pl.col("of_prompt")))
        return verdict(bad, pairs.height)

    return prompts_do_not_leak


def _votes_are_resolved(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "pairs", "pairs"),
        name="votes_are_resolved",
        description="Every pair has votes, two different sides, and is oriented towards the side they prefer.",
        blocking=True,
    )
    def votes_are_resolved(pairs: pl.DataFrame) -> dg.AssetCheckResult:
        resolved = (
            (pl.col("votes").list.len() > 0)
            & pl.col("p_chosen").is_between(0.5, 1.0)
            & (pl.col("chosen_id") != pl.col("rejected_id"))
        )
        bad = pairs.filter(~resolved.fill_null(False))
        return verdict(bad, pairs.height, ["pair_id", "chosen_id", "rejected_id", "p_chosen", "votes"])

    return votes_are_resolved


def _sides_exist(spec: PipelineSpec) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "pairs", "pairs"),
        name="both_sides_have_texts",
        description="Both completions of every pair are in the completions table, and answer the pair's prompt.",
        blocking=True,
        additional_ins={"completions": dg.AssetIn(key=asset_key(spec.name, "pairs", "completions"))},
    )
    def both_sides_have_texts(pairs: pl.DataFrame, completions: pl.DataFrame) -> dg.AssetCheckResult:
        found = pairs.select("pair_id", "prompt_id", "chosen_id", "rejected_id")
        for side in ("chosen", "rejected"):
            answers = completions.select(pl.col("completion_id").alias(f"{side}_id"), of=pl.col("prompt_id"))
            found = found.join(answers.rename({"of": f"prompt_of_{side}"}), on=f"{side}_id", how="left")
        absent = pl.any_horizontal(pl.col("prompt_of_chosen", "prompt_of_rejected").is_null())
        other = pl.any_horizontal(pl.col("prompt_of_chosen", "prompt_of_rejected") != pl.col("prompt_id"))
        return verdict(found.filter(absent | other.fill_null(False)), pairs.height)

    return both_sides_have_texts


def _embedded(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "embeddings", name),
        name="every_completion_has_a_vector",
        description="Every completion of a pair is embedded, by one model with one setting.",
        blocking=True,
        additional_ins={"pairs": dg.AssetIn(key=asset_key(spec.name, "pairs", "pairs"))},
    )
    def every_completion_has_a_vector(vectors: pl.DataFrame, pairs: pl.DataFrame) -> dg.AssetCheckResult:
        ids = pl.concat([pairs.select(id="chosen_id"), pairs.select(id="rejected_id")]).unique()
        mixed = vectors.filter(vectors["key"].n_unique() > 1)
        return verdict(pl.concat([ids.join(vectors, on="id", how="anti"), mixed.select("id")]), ids.height)

    return every_completion_has_a_vector


def _clustered(spec: PipelineSpec, name: str, embeddings: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "clusters", name),
        name="every_vector_has_a_cluster",
        description="Every embedded completion is in exactly one cluster.",
        additional_ins={"vectors": dg.AssetIn(key=asset_key(spec.name, "embeddings", embeddings))},
    )
    def every_vector_has_a_cluster(clusters: pl.DataFrame, vectors: pl.DataFrame) -> dg.AssetCheckResult:
        without = vectors.select("id").join(clusters, on="id", how="anti")
        twice = clusters.filter(pl.col("id").is_duplicated()).select("id")
        return verdict(pl.concat([without, twice]), vectors.height)

    return every_vector_has_a_cluster


def _scored(spec: PipelineSpec, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(spec.name, "scores", name),
        name="every_pair_has_a_finite_score",
        description="Every pair is scored once, by a finite number; probabilities lie in [0, 1].",
        blocking=True,
        additional_ins={"pairs": dg.AssetIn(key=asset_key(spec.name, "pairs", "pairs"))},
    )
    def every_pair_has_a_finite_score(scores: pl.DataFrame, pairs: pl.DataFrame) -> dg.AssetCheckResult:
        ids = pairs.select("pair_id").join(scores, on="pair_id", how="left")
        good = pl.col("score").is_finite() & pl.col("p_correct").is_between(0, 1).fill_null(True)
        twice = pl.col("pair_id").is_duplicated()
        bad = ids.filter(~good.fill_null(False) | twice)
        return verdict(bad, pairs.height, ["pair_id", "score", "p_correct"])

    return every_pair_has_a_finite_score
